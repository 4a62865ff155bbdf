package reference_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/joho/godotenv"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/reference"
	"github.com/poco-ai/poco/services/internal/config/schema"
)

func hasHan(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return unicode.Is(unicode.Han, r) })
}

// TestEverythingIsDescribed finds settings and sections without a text in one of
// the languages.
func TestEverythingIsDescribed(t *testing.T) {
	anchors := map[string]string{}
	for _, service := range schema.Services() {
		for _, language := range []schema.Language{schema.English, schema.Chinese} {
			title, description := language.Section(service.Message.ProtoReflect().Descriptor())
			require.NotEmpty(t, title, "%s in %s", service.Name, language)
			require.NotEmpty(t, description, "%s in %s", service.Name, language)
		}
		for _, s := range service.Settings() {
			group := string(s.Group.FullName())
			title, description := schema.English.Section(s.Group)
			require.NotEmpty(t, title, group)
			require.True(t, strings.HasSuffix(description, "."), group)
			// Links lead to titles.
			require.Contains(t, []string{"", group}, anchors[title], title)
			anchors[title] = group
			title, description = schema.Chinese.Section(s.Group)
			require.NotEmpty(t, title, group)
			require.True(t, hasHan(description) && strings.HasSuffix(description, "。"), group)

			english, chinese := schema.English.Description(s), schema.Chinese.Description(s)
			require.True(t, strings.HasSuffix(english, ".") && !hasHan(english), "%s: %s", s.GetEnv(), english)
			require.True(t, strings.HasSuffix(chinese, "。") && hasHan(chinese), "%s: %s", s.GetEnv(), chinese)
			require.Equal(t, schema.English.Fallback(s) == "", schema.Chinese.Fallback(s) == "", s.GetEnv())
			if s.GetRequired() && s.Default == nil {
				require.NotEmpty(t, s.GetExample(), s.GetEnv())
			}
		}
	}
}

func TestPageHasEverySetting(t *testing.T) {
	services := schema.Services()
	for _, language := range []schema.Language{schema.English, schema.Chinese} {
		var page bytes.Buffer
		require.NoError(t, reference.Page(&page, services, language))
		text := page.String()
		for _, service := range services {
			for _, s := range service.Settings() {
				require.Contains(t, text, "\n| `"+s.GetEnv()+"` | ", "%s in %s", s.GetEnv(), language)
			}
		}
		for _, link := range regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(text, -1) {
			require.Equal(t, 1, strings.Count(text, `<a id="`+link[1]+`">`), link[1])
		}
		for row := range strings.Lines(text) {
			if strings.HasPrefix(row, "| `") {
				require.Equal(t, 5, strings.Count(strings.ReplaceAll(row, `\|`, ""), "|"), row)
			}
		}
		require.NotContains(t, text, "%!")
	}
}

var commentedOut = regexp.MustCompile(`(?m)^#([A-Z][A-Z0-9_]*=)`)

// TestExample uncomments everything: what stands there has to be usable.
func TestExample(t *testing.T) {
	var file bytes.Buffer
	require.NoError(t, reference.Example(&file))
	header, _, _ := strings.Cut(file.String(), "\n\n")
	require.Contains(t, header, `"poco up" needs nothing of what stands under Required`)
	require.Contains(t, file.String(), "---- Required ----")
	active, err := godotenv.Parse(bytes.NewReader(file.Bytes()))
	require.NoError(t, err)
	all, err := godotenv.Parse(bytes.NewReader(commentedOut.ReplaceAll(file.Bytes(), []byte("$1"))))
	require.NoError(t, err)

	names := map[string]bool{}
	for _, service := range reference.ExampleServices() {
		for _, s := range service.Settings() {
			names[s.GetEnv()] = true
			require.Contains(t, all, s.GetEnv())
		}
		for _, values := range []map[string]string{active, all} {
			require.NoError(t, load(service, values), service.Name)
		}
	}
	require.Len(t, all, len(names))
	require.Len(t, regexp.MustCompile(`(?m)^#?[A-Z][A-Z0-9_]*=`).FindAll(file.Bytes(), -1), len(names), "each once")

	all["APP_ENV"] = "production"
	for _, service := range reference.ExampleServices() {
		err := load(service, all)
		if service.Name == "frontend" || service.Name == "backend" || service.Name == "manager" {
			require.ErrorContains(t, err, "INTERNAL_API_TOKEN", "examples are not for production")
		}
	}
}

func load(service schema.Service, values map[string]string) error {
	var environ []string
	for name, value := range values {
		environ = append(environ, name+"="+value)
	}
	_, err := config.Load(proto.Clone(service.Message), service.Name, config.Sources{Environ: environ})
	return err
}

// TestDotEnvKeepsValues has values read back by the loader and by the library
// that others read such files with.
func TestDotEnvKeepsValues(t *testing.T) {
	backend := schema.Services()[0]
	values := reference.Examples([]schema.Service{backend})
	for name, value := range map[string]string{
		"SECRET_KEY":         "plain-Value_1.2/3:4@5",
		"INTERNAL_API_TOKEN": "with space # and $HOME",
		"DATABASE_URL":       "host=h user=u dbname=d password='it\\'s $NAME'",
		"LOG_DIR":            "line\nbreak 'quoted' $NAME",
		"S3_ACCESS_KEY":      "back\\slash `tick` ! ${X}",
		"S3_SECRET_KEY":      `"p'\$x ${NAME}`,
		"LOG_LEVEL":          "WARNING",
	} {
		values[name] = value
	}
	var file bytes.Buffer
	require.NoError(t, reference.DotEnv(&file, reference.ExampleServices(), values))
	require.Contains(t, file.String(), "\nSECRET_KEY=plain-Value_1.2/3:4@5\n")
	require.Contains(t, file.String(), "\nINTERNAL_API_TOKEN='with space # and $HOME'\n")
	got, err := godotenv.Parse(bytes.NewReader(file.Bytes()))
	require.NoError(t, err)
	require.Equal(t, values, got)

	path := filepath.Join(t.TempDir(), ".env")
	require.NoError(t, os.WriteFile(path, file.Bytes(), 0o600))
	loaded, err := config.Load(proto.Clone(backend.Message), backend.Name, config.Sources{DotEnvPath: path})
	require.NoError(t, err)
	for _, s := range backend.Settings() {
		if value, ok := values[s.GetEnv()]; ok && s.IsSecret() {
			require.Equal(t, value, loaded.Secret(s.GetEnv()).Reveal(), s.GetEnv())
		} else if ok {
			require.Equal(t, value, s.Text(loaded.Msg.ProtoReflect()), s.GetEnv())
		}
	}
}
