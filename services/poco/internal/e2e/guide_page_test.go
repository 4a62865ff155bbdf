package e2e

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// console is a block of commands and what they print, in a page.
type console struct {
	// first is the page's line on which the block's text begins, and last the one
	// of its closing fence.
	first, last int
	commands    []string
}

// consoles finds the blocks of a page that show commands.
func consoles(lines []string) []console {
	var out []console
	for i := 0; i < len(lines); i++ {
		if lines[i] != "```console" {
			continue
		}
		block := console{first: i + 1}
		for i++; lines[i] != "```"; i++ {
			if command, ok := strings.CutPrefix(lines[i], "$ "); ok {
				block.commands = append(block.commands, command)
			}
		}
		block.last = i
		out = append(out, block)
	}
	return out
}

// guideNames turns what differs from machine to machine into what the page says.
type guideNames struct {
	// exact are replaced wherever they are.
	exact *strings.Replacer
	// cells are replaced where they are all of a cell.
	cells map[string]string
}

var (
	// database is a masked URL with a name that is new in each run.
	database = regexp.MustCompile(`postgres(ql)?://[^\s@]+@[^\s]+`)
	// build ends the line about a service that has answered.
	build = regexp.MustCompile(`  version \S+$`)
)

func (n guideNames) text(line string) string {
	line = database.ReplaceAllString(line, "postgres://postgres:***@localhost:5432/poco")
	return n.exact.Replace(build.ReplaceAllString(line, "  version dev"))
}

// page returns output as the page has it. Tables are aligned anew, for what is
// replaced has another length.
func (n guideNames) page(output string) []string {
	lines := strings.Split(strings.TrimRight(output, "\n"), "\n")
	var out []string
	for i := 0; i < len(lines); i++ {
		if !strings.HasPrefix(lines[i], "VARIABLE ") {
			out = append(out, n.text(lines[i]))
			continue
		}
		end := i + 1
		for end < len(lines) && lines[end] != "" && !strings.HasPrefix(lines[end], "exit code ") {
			end++
		}
		out = append(out, n.table(lines[i:end])...)
		i = end - 1
	}
	return out
}

// heads finds where columns begin: after two blanks.
var heads = regexp.MustCompile(`\S+( \S+)*`)

func (n guideNames) table(lines []string) []string {
	var starts []int
	for _, span := range heads.FindAllStringIndex(lines[0], -1) {
		starts = append(starts, utf8.RuneCountInString(lines[0][:span[0]]))
	}
	widths := make([]int, len(starts))
	rows := make([][]string, len(lines))
	for i, line := range lines {
		runes := []rune(line)
		for j, start := range starts {
			end := len(runes)
			if j+1 < len(starts) {
				end = min(end, starts[j+1])
			}
			cell := strings.TrimSpace(string(runes[min(start, end):end]))
			if replaced, ok := n.cells[cell]; ok {
				cell = replaced
			}
			cell = n.text(cell)
			rows[i] = append(rows[i], cell)
			widths[j] = max(widths[j], utf8.RuneCountInString(cell))
		}
	}
	out := make([]string, len(lines))
	for i, row := range rows {
		for j, cell := range row {
			out[i] += cell + strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell)+2)
		}
		out[i] = strings.TrimRight(out[i], " ")
	}
	return out
}

// replaceBlocks puts the outputs of the commands into the page.
func replaceBlocks(lines []string, blocks []console, outputs [][]string) []string {
	page := slices.Clone(lines)
	for i := len(blocks) - 1; i >= 0; i-- {
		page = slices.Replace(page, blocks[i].first, blocks[i].last, outputs[i]...)
	}
	return page
}

// replaceReport puts a report into the page's block of text.
func replaceReport(lines []string, report string) []string {
	first := slices.Index(lines, "```text") + 1
	last := first + slices.Index(lines[first:], "```")
	return slices.Replace(slices.Clone(lines), first, last, strings.Split(strings.TrimRight(report, "\n"), "\n")...)
}

func TestTablesAreAlignedAnew(t *testing.T) {
	names := guideNames{exact: strings.NewReplacer("127.0.0.1:54321", "localhost:8000"), cells: map[string]string{"54321": "8000"}}
	require.Equal(t, []string{
		"at http://localhost:8000",
		"",
		"VARIABLE  BACKEND                FROM  NOTE",
		"PORT      8000                   .env",
		"URL       http://localhost:8000        x",
		"",
		"end",
	}, names.page("at http://127.0.0.1:54321\n\nVARIABLE  BACKEND                 FROM  NOTE\nPORT      54321                   .env\nURL       http://127.0.0.1:54321        x\n\nend\n"))
}
