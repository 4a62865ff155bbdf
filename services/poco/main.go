// Command poco is Poco for people: it starts everything on one machine, sends
// prompts and shows what the agent does.
package main

import (
	"os"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/poco/internal/command"
)

func main() {
	os.Exit(command.Main(config.OSSources(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
