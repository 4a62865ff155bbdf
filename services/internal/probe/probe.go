// Package probe asks whether a URL answers from where an executor would run: in
// this process, or as a command of the executor's program inside a container.
package probe

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// Command is the first argument of a program that is to probe; the URL is
	// the second.
	Command = "probe"
	// ExitUnreachable is its exit code when nobody answers at the URL: one that
	// no program without the command ends with. What was seen is on standard
	// output, like the answer with exit code 0.
	ExitUnreachable = 97

	// timeout bounds one probe. A firewall drops without a word.
	timeout = 10 * time.Second
	// answerLimit bounds the bytes that are read of an answer.
	answerLimit = 64 << 10
)

// Main probes when the arguments of a program ask for it, and returns the exit
// code; asked is false for every other call of the program.
func Main(args []string, out io.Writer) (code int, asked bool) {
	if len(args) != 2 || args[0] != Command {
		return 0, false
	}
	answer, err := Get(context.Background(), args[1])
	if err != nil {
		answer, code = err.Error(), ExitUnreachable
	}
	if _, err := io.WriteString(out, answer); err != nil {
		return 1, true
	}
	return code, true
}

// Get returns what a URL answers, whatever the status. The error names the
// addresses behind the URL's host, as they are seen from here.
func Get(ctx context.Context, target string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := get(ctx, target)
	if err != nil {
		return "", fmt.Errorf("%w%s", err, addresses(ctx, target))
	}
	return answer, nil
}

func get(ctx context.Context, target string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return "", err
	}
	// No proxy: executors call their manager directly.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil, DialContext: (&net.Dialer{}).DialContext}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	return string(answer), err
}

// addresses tells what a URL's name stands for where that is not obvious.
func addresses(ctx context.Context, target string) string {
	u, err := url.Parse(target)
	if err != nil || net.ParseIP(u.Hostname()) != nil {
		return ""
	}
	found, err := net.DefaultResolver.LookupHost(context.WithoutCancel(ctx), u.Hostname())
	if err != nil {
		return "" // the error of the call says it already
	}
	return fmt.Sprintf(" (%s is %s here)", u.Hostname(), strings.Join(found, ", "))
}
