package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	// Registered, so that everyRPC finds their services.
	_ "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	_ "github.com/poco-ai/poco/gen/go/poco/manager/v1"
	_ "github.com/poco-ai/poco/gen/go/poco/queue/v1"
)

// canaries are random values that stand for secrets, and must appear nowhere.
type canaries struct {
	t  testing.TB
	mu sync.Mutex
	// marks has every spelling of each canary, by the canary's name.
	marks map[string][]string
	// looked counts what was looked at, so that a test can tell that it was.
	looked map[string]int
}

func newCanaries(t testing.TB) *canaries {
	return &canaries{t: t, marks: map[string][]string{}, looked: map[string]int{}}
}

// hatch makes a new canary.
func (c *canaries) hatch(name string) string {
	mark := rand.Text() + rand.Text()
	c.add(name, mark)
	return mark
}

// add makes a canary of a value.
func (c *canaries) add(name, mark string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marks[name] = append(c.marks[name], mark, url.QueryEscape(mark), base64.StdEncoding.EncodeToString([]byte(mark)),
		hex.EncodeToString([]byte(mark)))
}

// check looks for canaries in a text; kind is what the text is one of.
func (c *canaries) check(kind, what, text string, except ...string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked[kind]++
	for name, spellings := range c.marks {
		if slices.Contains(except, name) {
			continue
		}
		for _, mark := range spellings {
			if at := strings.Index(text, mark); at >= 0 {
				c.t.Errorf("%s %s shows %s: …%s…", kind, what, name, text[max(0, at-200):min(len(text), at+len(mark)+50)])
				break
			}
		}
	}
}

// checkTree looks into every file below a folder, and at the files' names.
func (c *canaries) checkTree(kind, root string) {
	c.t.Helper()
	require.NoError(c.t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // removed meanwhile
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		c.check(kind, path, path+"\n"+string(content))
		return err
	}))
}

// checkDatabase looks into every row of every table.
func (c *canaries) checkDatabase(databaseURL string) {
	c.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, databaseURL)
	require.NoError(c.t, err)
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'")
	require.NoError(c.t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(c.t, err)
	require.NotEmpty(c.t, tables)
	for _, table := range tables {
		rows, err := conn.Query(ctx, "SELECT t::text FROM "+pgx.Identifier{table}.Sanitize()+" t")
		require.NoError(c.t, err)
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(c.t, err)
		c.check("table", table, strings.Join(texts, "\n"))
	}
}

// asker calls whatever a service has.
type asker struct {
	*canaries
	client *http.Client
	// ids are put into the fields of requests that have these names.
	ids map[protoreflect.Name]string
	// tokens are tried in turn; the empty one shows none.
	tokens []string
}

// everyRPC calls every unary RPC of every service of Poco, whether the program
// has it or not, with each token.
func (a *asker) everyRPC(p *program) {
	a.t.Helper()
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "poco.") {
			return true
		}
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				if m := methods.Get(j); !m.IsStreamingClient() && !m.IsStreamingServer() && !ends(m) {
					a.call(p, m)
				}
			}
		}
		return true
	})
}

// ends tells whether a call would end what the test is about.
func ends(m protoreflect.MethodDescriptor) bool {
	return strings.HasPrefix(string(m.Name()), "Delete") || strings.HasPrefix(string(m.Name()), "Cancel")
}

func (a *asker) call(p *program, m protoreflect.MethodDescriptor) {
	a.t.Helper()
	request := dynamicpb.NewMessage(m.Input())
	for i := range m.Input().Fields().Len() {
		field := m.Input().Fields().Get(i)
		if id := a.ids[field.Name()]; id != "" && field.Kind() == protoreflect.StringKind && !field.IsList() {
			request.Set(field, protoreflect.ValueOfString(id))
		}
	}
	body, err := protojson.Marshal(request)
	require.NoError(a.t, err)
	path := fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
	for _, token := range a.tokens {
		a.get(p, http.MethodPost, path, token, body)
	}
}

// everyPage asks for the plain pages, and for some that are not there.
func (a *asker) everyPage(p *program) {
	a.t.Helper()
	for _, path := range []string{"/", "/metrics", "/healthz", "/readyz", "/nothing", "/api/v1/poco.backend.v1.SessionService/ListSessions", "/model/v1/messages"} {
		for _, token := range a.tokens {
			a.get(p, http.MethodGet, path, token, nil)
			a.get(p, http.MethodPost, path, token, []byte("\x00not json"))
		}
	}
}

// get makes one call and looks at the whole answer.
func (a *asker) get(p *program, method, path, token string, body []byte) {
	a.t.Helper()
	request, err := http.NewRequestWithContext(a.t.Context(), method, p.url()+path, bytes.NewReader(body))
	require.NoError(a.t, err)
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := a.client.Do(request)
	require.NoError(a.t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(a.t, err)
	var except []string
	if strings.Contains(string(answer), "X-Amz-Credential=") {
		// A presigned link names the access key; that is how S3 knows it.
		except = []string{"S3_ACCESS_KEY"}
	}
	a.check("answer", p.name+" "+method+" "+path, fmt.Sprintf("%v\n%s", response.Header, answer), except...)
}
