package hint

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/partial"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

const (
	// maxPayload is under the 8000 bytes that Postgres allows a notification.
	maxPayload = 7900
	// maxPartialText is the most text of one partial: a base64 line with it
	// stays below maxPayload.
	maxPartialText = 5000
)

// A notification is a line with the sender's id and a number, and then one line
// for each hint. The number is there because Postgres delivers equal
// notifications of one transaction only once. Ids of
// workers are escaped, so that no line holds a space or newline too many.
const (
	lineSession = "s"
	lineListed  = "l"
	lineQueue   = "q"
	lineWorker  = "w"
	lineDeleted = "d"
	linePartial = "p"
	lineAll     = "a"
)

func setLines(s Set) []string {
	lines := make([]string, 0, len(s.Sessions)+len(s.Listed)+len(s.Workers)+1)
	if s.All {
		lines = append(lines, lineAll)
	}
	if s.Queue {
		lines = append(lines, lineQueue)
	}
	for id, seq := range s.Sessions {
		lines = append(lines, fmt.Sprintf("%s %s %d", lineSession, id, seq))
	}
	for id, key := range s.Listed {
		lines = append(lines, fmt.Sprintf("%s %s %s", lineListed, id, key))
	}
	for id := range s.Deleted {
		lines = append(lines, lineDeleted+" "+id)
	}
	for id := range s.Workers {
		lines = append(lines, lineWorker+" "+url.QueryEscape(id))
	}
	return lines
}

func partialLines(sessionID string, partials []*backendv1.PartialContent) ([]string, error) {
	var lines []string
	for _, p := range partials {
		for _, piece := range splitPartial(p) {
			raw, err := proto.Marshal(piece)
			if err != nil {
				return nil, fmt.Errorf("encode partial: %w", err)
			}
			line := fmt.Sprintf("%s %s %s", linePartial, sessionID, base64.RawStdEncoding.EncodeToString(raw))
			if len(line) < maxPayload-64 { // else its ids are of absurd length
				lines = append(lines, line)
			}
		}
	}
	return lines, nil
}

// splitPartial cuts text that is too long for one notification, between runes.
func splitPartial(p *backendv1.PartialContent) []*backendv1.PartialContent {
	if partial.Size(p) <= maxPartialText {
		return []*backendv1.PartialContent{p}
	}
	rest := p.GetText() + p.GetThinking()
	var pieces []*backendv1.PartialContent
	for rest != "" {
		head := sanitize.Head(rest, maxPartialText)
		rest = rest[len(head):]
		piece := &backendv1.PartialContent{
			RunId: p.GetRunId(), AgentMessageId: p.GetAgentMessageId(), BlockIndex: p.GetBlockIndex(), AfterRunSeq: p.GetAfterRunSeq(),
		}
		if _, thinking := p.GetDelta().(*backendv1.PartialContent_Thinking); thinking {
			piece.Delta = &backendv1.PartialContent_Thinking{Thinking: head}
		} else {
			piece.Delta = &backendv1.PartialContent_Text{Text: head}
		}
		pieces = append(pieces, piece)
	}
	return pieces
}

// pack puts lines into as few notifications as hold them.
func pack(instance string, lines []string) []string {
	var payloads []string
	var b strings.Builder
	for _, line := range lines {
		if b.Len() > 0 && b.Len()+1+len(line) > maxPayload {
			payloads = append(payloads, b.String())
			b.Reset()
		}
		if b.Len() == 0 {
			fmt.Fprintf(&b, "%s %d", instance, len(payloads))
		}
		b.WriteByte('\n')
		b.WriteString(line)
	}
	if b.Len() > 0 {
		payloads = append(payloads, b.String())
	}
	return payloads
}

// parse reads a notification; one that this instance sent says nothing new. Lines
// of kinds it does not know come from a newer backend and are skipped.
func parse(payload, instance string) Set {
	head, rest, _ := strings.Cut(payload, "\n")
	if sender, _, _ := strings.Cut(head, " "); sender == instance {
		return Set{}
	}
	set := Set{Partials: make(map[string][]*backendv1.PartialContent)}
	for line := range strings.Lines(rest) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 1 && fields[0] == lineQueue:
			set.Queue = true
		case len(fields) == 1 && fields[0] == lineAll:
			set.All = true
		case len(fields) == 3 && fields[0] == lineSession:
			if seq, err := strconv.ParseInt(fields[2], 10, 64); err == nil {
				set.Session(fields[1], seq)
			}
		case len(fields) == 3 && fields[0] == lineListed:
			set.list(fields[1], fields[2])
		case len(fields) == 2 && fields[0] == lineDeleted:
			set.Delete(fields[1])
		case len(fields) == 2 && fields[0] == lineWorker:
			if id, err := url.QueryUnescape(fields[1]); err == nil {
				set.Worker(id)
			}
		case len(fields) == 3 && fields[0] == linePartial:
			var p backendv1.PartialContent
			if raw, err := base64.RawStdEncoding.DecodeString(fields[2]); err == nil && proto.Unmarshal(raw, &p) == nil {
				set.Partials[fields[1]] = append(set.Partials[fields[1]], &p)
			}
		}
	}
	return set
}
