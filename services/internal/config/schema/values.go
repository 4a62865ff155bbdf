package schema

import (
	"encoding/json"
	"errors"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/redact"
)

// errValue says only that a value cannot be read: what strconv and the like say
// would repeat the value.
var errValue = errors.New("the value cannot be read")

func durationUnit(u configv1.Unit) time.Duration {
	switch u {
	case configv1.Unit_UNIT_MILLISECONDS:
		return time.Millisecond
	case configv1.Unit_UNIT_SECONDS:
		return time.Second
	case configv1.Unit_UNIT_MINUTES:
		return time.Minute
	case configv1.Unit_UNIT_HOURS:
		return time.Hour
	case configv1.Unit_UNIT_DAYS:
		return 24 * time.Hour
	default:
		return 0
	}
}

func sizeUnit(u configv1.Unit) int64 {
	switch u {
	case configv1.Unit_UNIT_BYTES:
		return 1
	case configv1.Unit_UNIT_KIBIBYTES:
		return 1 << 10
	case configv1.Unit_UNIT_MEBIBYTES:
		return 1 << 20
	default:
		return 0
	}
}

// Assign reads environment notation into the message. Secrets are not assigned:
// the message holds only that they are set. The error never holds the value.
func (s *Setting) Assign(root protoreflect.Message, text string) error {
	if s.Kind != List && !s.fits(text) {
		return errValue
	}
	holder := s.holder(root)
	switch s.Kind {
	case SecretText, SecretURL:
		secret := holder.Mutable(s.field).Message()
		secret.Set(secret.Descriptor().Fields().ByName("is_set"), protoreflect.ValueOfBool(true))
		return nil
	case List:
		list := holder.NewField(s.field)
		items, err := splitList(text)
		if err != nil {
			return err
		}
		for _, item := range items {
			if !s.fits(item) {
				return errValue
			}
			list.List().Append(protoreflect.ValueOfString(item))
		}
		holder.Set(s.field, list)
		return nil
	default:
	}
	value, err := s.parse(text)
	if err != nil {
		return err
	}
	holder.Set(s.field, value)
	return nil
}

func (s *Setting) parse(text string) (protoreflect.Value, error) {
	if s.Kind == String {
		return protoreflect.ValueOfString(s.canonical(text)), nil
	}
	text = strings.TrimSpace(text)
	switch s.Kind {
	case Bool:
		b, err := parseBool(text)
		return protoreflect.ValueOfBool(b), err
	case Number:
		f, err := parseFloat(text)
		return protoreflect.ValueOfFloat64(f), err
	case Duration:
		f, err := parseFloat(text)
		nanos := f * float64(durationUnit(s.GetUnit()))
		if err != nil || math.Abs(nanos) >= math.MaxInt64 {
			return protoreflect.Value{}, errValue
		}
		return protoreflect.ValueOfMessage(durationpb.New(time.Duration(math.Round(nanos))).ProtoReflect()), nil
	default:
		return s.parseInteger(text)
	}
}

func (s *Setting) parseInteger(text string) (protoreflect.Value, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return protoreflect.Value{}, errValue
	}
	if unit := sizeUnit(s.GetUnit()); unit > 1 {
		if n > math.MaxInt64/unit || n < math.MinInt64/unit {
			return protoreflect.Value{}, errValue
		}
		n *= unit
	}
	if s.field.Kind() == protoreflect.Int32Kind {
		if n > math.MaxInt32 || n < math.MinInt32 {
			return protoreflect.Value{}, errValue
		}
		return protoreflect.ValueOfInt32(int32(n)), nil
	}
	return protoreflect.ValueOfInt64(n), nil
}

// Agree tells whether two values in environment notation mean the same. What
// cannot be read agrees only with itself; so does a secret.
func (s *Setting) Agree(a, b string) bool {
	if a == b {
		return true
	}
	switch s.Kind {
	case SecretText, SecretURL:
		return false
	case List:
		first, err := splitList(a)
		second, otherErr := splitList(b)
		return err == nil && otherErr == nil && slices.Equal(first, second)
	case String:
		return s.Spelling(a) == s.Spelling(b)
	default:
		first, err := s.parse(a)
		second, otherErr := s.parse(b)
		return err == nil && otherErr == nil && first.Equal(second)
	}
}

// Spelling is the one spelling that equal texts have. Of URLs it is alike for what
// leads to the same place: the case of the host, the port that the scheme has
// anyway and a slash at the end do not matter.
func (s *Setting) Spelling(text string) string {
	text = s.canonical(text)
	u, err := url.Parse(text)
	if s.GetFormat() != configv1.Format_FORMAT_HTTP_URL || err != nil {
		return text
	}
	port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	u.Host = strings.TrimSuffix(strings.ToLower(u.Host), port)
	u.Path = strings.TrimRight(u.Path, "/")
	return u.String()
}

// canonical spells one of the choices as the schema does, and leaves no space
// around what has a format.
func (s *Setting) canonical(text string) string {
	for _, word := range s.Choices() {
		if strings.EqualFold(word, strings.TrimSpace(text)) {
			return word
		}
	}
	if s.GetFormat() != configv1.Format_FORMAT_UNSPECIFIED {
		return strings.TrimSpace(text)
	}
	return text
}

var (
	yes = []string{"true", "1", "yes", "on"}
	no  = []string{"false", "0", "no", "off"}
)

// BoolWords are the words for true and false, in any case.
func BoolWords() []string { return slices.Concat(yes, no) }

func parseBool(text string) (bool, error) {
	text = strings.ToLower(text)
	switch {
	case slices.Contains(yes, text):
		return true, nil
	case slices.Contains(no, text):
		return false, nil
	default:
		return false, errValue
	}
}

// parseFloat reads decimal notation only: hexadecimal seconds are a mistake, and
// digits in groups are as little read as in whole numbers.
func parseFloat(text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || strings.ContainsAny(text, "xX_") {
		return 0, errValue
	}
	return f, nil
}

// splitList reads values separated by commas or line breaks, or a JSON array.
func splitList(text string) ([]string, error) {
	var items []string
	if strings.HasPrefix(strings.TrimSpace(text), "[") {
		if err := json.Unmarshal([]byte(text), &items); err != nil {
			return nil, errValue
		}
	} else {
		items = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' })
	}
	out := items[:0]
	for _, item := range items {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out, nil
}

// Text writes the value in the config message in environment notation; empty
// for a secret.
func (s *Setting) Text(root protoreflect.Message) string {
	value := s.Value(root)
	switch s.Kind {
	case String:
		return redact.Plain(value.String())
	case Bool:
		return strconv.FormatBool(value.Bool())
	case Integer:
		return strconv.FormatInt(value.Int(), 10)
	case Size:
		return formatFloat(float64(value.Int()) / float64(sizeUnit(s.GetUnit())))
	case Number:
		return formatFloat(value.Float())
	case Duration:
		d, ok := value.Message().Interface().(*durationpb.Duration)
		if !ok {
			return ""
		}
		return s.formatDuration(d)
	case List:
		items := make([]string, value.List().Len())
		for i := range items {
			items[i] = redact.Plain(value.List().Get(i).String())
		}
		return strings.Join(items, ",")
	default:
		return ""
	}
}

func (s *Setting) formatDuration(d *durationpb.Duration) string {
	return formatFloat(float64(d.AsDuration()) / float64(durationUnit(s.GetUnit())))
}

func formatFloat(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// Show is a value in environment notation as it may be shown: nothing of a
// secret, and no password inside a URL.
func (s *Setting) Show(value string) string {
	switch s.Kind {
	case SecretText:
		return ""
	case SecretURL:
		return redact.URL(value)
	default:
		if s.isAddress() && strings.Contains(value, "@") {
			return redact.Mark // what is before the @ may be secret, scheme or not
		}
		return redact.Plain(value)
	}
}
