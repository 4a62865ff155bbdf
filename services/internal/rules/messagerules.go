package rules

import (
	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"cel.dev/cel-go/cel"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// this is the name of the message in its rules.
const this = "this"

// obeysMessageRules checks the rules about a message as a whole, and none of
// those about its fields: it is compiling them all that takes protovalidate its
// time. False also when a rule uses what only protovalidate knows.
func obeysMessageRules(m protoreflect.Message) bool {
	if !proto.HasExtension(m.Descriptor().Options(), validate.E_Message) {
		return true
	}
	rules, ok := proto.GetExtension(m.Descriptor().Options(), validate.E_Message).(*validate.MessageRules)
	if !ok || !only(rules, "cel") {
		return false
	}
	env, err := cel.NewEnv(cel.Types(m.Interface()), cel.Variable(this, cel.DynType))
	if err != nil {
		return false
	}
	for _, rule := range rules.GetCel() {
		if !holds(env, rule.GetExpression(), m.Interface()) {
			return false
		}
	}
	return true
}

// holds evaluates an expression. Its types are not checked, which takes longer
// than evaluating it.
func holds(env *cel.Env, expression string, msg proto.Message) bool {
	ast, issues := env.Parse(expression)
	if issues.Err() != nil {
		return false
	}
	program, err := env.Program(ast)
	if err != nil {
		return false
	}
	out, _, err := program.Eval(map[string]any{this: msg})
	if err != nil {
		return false
	}
	ok, _ := out.Value().(bool)
	return ok
}
