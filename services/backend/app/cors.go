package app

import (
	"net/http"
	"time"

	connectcors "connectrpc.com/cors"
	"github.com/rs/cors"

	"github.com/poco-ai/poco/services/internal/rpcserver"
	"github.com/poco-ai/poco/services/internal/strictjson"
)

// preflightAge is how long a browser may remember what is allowed; browsers cap
// it at two hours.
const preflightAge = 2 * time.Hour

// allowOrigins lets pages of the given origins call the backend from a browser.
func allowOrigins(origins []string) func(http.Handler) http.Handler {
	ids := []string{rpcserver.RequestIDHeader, rpcserver.TraceIDHeader}
	c := cors.New(cors.Options{
		AllowedOrigins:   origins,
		AllowedMethods:   connectcors.AllowedMethods(),
		AllowedHeaders:   append(append(connectcors.AllowedHeaders(), "Authorization", strictjson.Header), ids...),
		ExposedHeaders:   append(connectcors.ExposedHeaders(), ids...),
		AllowCredentials: true,
		MaxAge:           int(preflightAge.Seconds()),
	})
	return c.Handler
}
