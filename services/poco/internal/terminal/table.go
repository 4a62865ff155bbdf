package terminal

import (
	"io"
	"strings"
)

const (
	// columnGap is between two columns.
	columnGap = "  "
	// leastColumn is what a column keeps when the terminal is narrow.
	leastColumn = 12
)

// Cell is one cell of a table.
type Cell struct {
	Text string
	// Look styles the text; nil leaves it plain.
	Look func(string) string
}

// Table is aligned columns of untrusted text. The last column is left out when
// it is empty.
type Table struct {
	// Head names the columns.
	Head []string
	// Flexible tells which columns may be cut where the width is short.
	Flexible []bool
	rows     [][]Cell
}

// Add adds a row, which has a cell for each column.
func (t *Table) Add(row ...Cell) {
	for i := range row {
		row[i].Text = OneLine(row[i].Text)
	}
	t.rows = append(t.rows, row)
}

// Rows is how many rows there are.
func (t *Table) Rows() int { return len(t.rows) }

// columns is how many columns are written.
func (t *Table) columns() int {
	last := len(t.Head) - 1
	for _, row := range t.rows {
		if row[last].Text != "" {
			return len(t.Head)
		}
	}
	return last
}

// widths are those that the texts want.
func (t *Table) widths() []int {
	widths := make([]int, t.columns())
	for i := range widths {
		widths[i] = cells.StringWidth(OneLine(t.Head[i]))
		for _, row := range t.rows {
			widths[i] = max(widths[i], cells.StringWidth(row[i].Text))
		}
	}
	return widths
}

func total(widths []int) int {
	sum := len(columnGap) * (len(widths) - 1)
	for _, width := range widths {
		sum += width
	}
	return sum
}

// fit takes from the widest flexible column until the table is not wider than
// width; it tells whether that was possible.
func (t *Table) fit(widths []int, width int) bool {
	for total(widths) > width {
		widest := -1
		for i := range widths {
			if t.Flexible[i] && widths[i] > leastColumn && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return false
		}
		widths[widest]--
	}
	return true
}

// Fits tells whether the table can be written in a width; 0 means that there is
// no limit.
func (t *Table) Fits(width int) bool { return width == 0 || t.fit(t.widths(), width) }

// Write writes the table, cut to a width where possible; 0 means no limit.
func (t *Table) Write(out io.Writer, width int, style Style) error {
	widths := t.widths()
	if width > 0 {
		t.fit(widths, width)
	}
	head := make([]Cell, len(t.Head))
	for i, text := range t.Head {
		head[i] = Cell{Text: OneLine(text), Look: style.Bold}
	}
	var b strings.Builder
	for _, row := range append([][]Cell{head}, t.rows...) {
		writeRow(&b, row, widths)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func writeRow(b *strings.Builder, row []Cell, widths []int) {
	gap := 0 // blanks are written only before more text
	for i, cell := range row[:len(widths)] {
		text := cut(cell.Text, widths[i])
		if text != "" {
			b.WriteString(strings.Repeat(" ", gap))
			gap = 0
			if cell.Look != nil {
				b.WriteString(cell.Look(text))
			} else {
				b.WriteString(text)
			}
		}
		gap += widths[i] - cells.StringWidth(text) + len(columnGap)
	}
	b.WriteByte('\n')
}
