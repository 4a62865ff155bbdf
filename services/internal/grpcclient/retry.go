package grpcclient

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The shape of https://github.com/grpc/grpc/blob/master/doc/service_config.md.
type (
	clientConfig struct {
		LoadBalancing []map[string]struct{} `json:"loadBalancingConfig"`
		Methods       []methodConfig        `json:"methodConfig,omitempty"`
	}
	methodConfig struct {
		Names []methodName `json:"name"`
		Retry retryPolicy  `json:"retryPolicy"`
	}
	methodName struct {
		Service string `json:"service"`
		Method  string `json:"method"`
	}
	retryPolicy struct {
		MaxAttempts       int      `json:"maxAttempts"`
		InitialBackoff    string   `json:"initialBackoff"`
		MaxBackoff        string   `json:"maxBackoff"`
		BackoffMultiplier float64  `json:"backoffMultiplier"`
		Codes             []string `json:"retryableStatusCodes"`
	}
)

// serviceConfig spreads calls over all addresses and repeats idempotent ones
// that met Unavailable. Which those are, the protos say (idempotency_level):
// a connection may break after the call has taken effect. Calls that never
// left this process gRPC repeats by itself.
var serviceConfig = sync.OnceValue(func() string {
	cfg := clientConfig{LoadBalancing: []map[string]struct{}{{"round_robin": {}}}}
	if names := idempotentMethods(); len(names) > 0 {
		cfg.Methods = []methodConfig{{
			Names: names,
			Retry: retryPolicy{MaxAttempts: 4, InitialBackoff: "0.05s", MaxBackoff: "1s", BackoffMultiplier: 2, Codes: []string{"UNAVAILABLE"}},
		}}
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		panic(err) // plain data always marshals
	}
	return string(text)
})

func idempotentMethods() []methodName {
	var names []methodName
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "poco.") {
			return true
		}
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				if isIdempotent(method) {
					names = append(names, methodName{Service: string(service.FullName()), Method: string(method.Name())})
				}
			}
		}
		return true
	})
	slices.SortFunc(names, func(a, b methodName) int {
		return strings.Compare(a.Service+"/"+a.Method, b.Service+"/"+b.Method)
	})
	return names
}

func isIdempotent(method protoreflect.MethodDescriptor) bool {
	options, ok := method.Options().(*descriptorpb.MethodOptions)
	return ok && options.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
}
