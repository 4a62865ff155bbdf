// Command testexecutor stands in for the executor in the tests of runtimes. It
// answers health, ends as it is told, starts processes that try to get away,
// and tells how it sees the world. It is told how to behave by
// behaviour.Var.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/poco-ai/poco/services/internal/probe"
	"github.com/poco-ai/poco/services/manager/internal/runtime/runtimetest/behaviour"
)

func main() {
	if code, asked := probe.Main(os.Args[1:], os.Stdout); asked {
		os.Exit(code)
	}
	if len(os.Args) > 1 && os.Args[1] == "linger" {
		linger()
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "testexecutor:", err)
		os.Exit(1)
	}
}

func run() error {
	if os.Getenv(behaviour.Var) == behaviour.ExitsAtStart {
		fmt.Fprintln(os.Stderr, behaviour.LastWords)
		os.Exit(behaviour.StartExitCode)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch os.Getenv(behaviour.Var) {
	case behaviour.Silent:
		<-ctx.Done()
		return nil
	case behaviour.Stubborn:
		signal.Reset(syscall.SIGTERM)
		signal.Ignore(syscall.SIGTERM)
		ctx = context.Background()
	}
	listener, err := listen()
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler()}
	go func() {
		<-ctx.Done()
		_ = server.Close() // ends Serve, which is what counts
	}()
	if err := server.Serve(listener); ctx.Err() == nil {
		return err
	}
	fmt.Fprintln(os.Stderr, behaviour.Farewell)
	return nil
}

func listen() (net.Listener, error) {
	if fd, err := strconv.Atoi(os.Getenv("EXECUTOR_LISTEN_FD")); err == nil && fd > 0 {
		return net.FileListener(os.NewFile(uintptr(fd), "listener"))
	}
	return new(net.ListenConfig).Listen(context.Background(), "tcp", net.JoinHostPort(os.Getenv("EXECUTOR_HOST"), os.Getenv("EXECUTOR_PORT")))
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /exit", func(_ http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.FormValue("code"))
		if err != nil {
			code = 99
		}
		fmt.Fprintln(os.Stderr, r.FormValue("say"))
		os.Exit(code)
	})
	mux.HandleFunc("POST /spawn", func(w http.ResponseWriter, r *http.Request) {
		pids, err := spawn(r.Context())
		reply(w, pids, err)
	})
	mux.HandleFunc("GET /environ", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, os.Environ(), nil)
	})
	mux.HandleFunc("GET /args", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, os.Args, nil)
	})
	mux.HandleFunc("GET /user", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, []int{os.Getuid(), os.Getgid()}, nil)
	})
	mux.HandleFunc("POST /write", func(w http.ResponseWriter, r *http.Request) {
		err := os.WriteFile(r.FormValue("path"), []byte("written\n"), 0o600)
		reply(w, "ok", err)
	})
	mux.HandleFunc("POST /hog", func(http.ResponseWriter, *http.Request) {
		const chunk, page = 1 << 20, 4096
		var held [][]byte
		for {
			memory := make([]byte, chunk)
			for i := 0; i < chunk; i += page {
				memory[i] = 1 // only touched pages count
			}
			held = append(held, memory)
			runtime.KeepAlive(held)
		}
	})
	mux.HandleFunc("POST /fetch", func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, r.FormValue("url"), nil)
		if err != nil {
			reply(w, "", err)
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			reply(w, "", err)
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		reply(w, string(body), err)
	})
	return mux
}

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(v) // the test notices a broken answer
}

// spawn starts processes that hide as well as an agent's tools may: in a
// session of their own, without a parent, deaf to SIGTERM. It returns their
// numbers once all of them run.
func spawn(ctx context.Context) ([]int, error) {
	report, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer report.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child := exec.CommandContext(context.WithoutCancel(ctx), self, "linger", "2")
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	child.ExtraFiles = []*os.File{write}
	if err := child.Start(); err != nil {
		return nil, err
	}
	if err := write.Close(); err != nil {
		return nil, err
	}
	// The middle one ends, so that its child loses its parent.
	if err := child.Wait(); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(report)
	if err != nil {
		return nil, err
	}
	var pids []int
	for line := range strings.Lines(string(text)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// linger is what spawn starts: generation 2 starts generation 1 in a new
// session and ends; generation 1 stays.
func linger() {
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	report := os.NewFile(3, "report")
	if os.Args[2] == "2" {
		child := exec.CommandContext(context.Background(), filepath.Clean(os.Args[0]), "linger", "1")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		child.ExtraFiles = []*os.File{report}
		if err := child.Start(); err != nil {
			os.Exit(1)
		}
		return
	}
	fmt.Fprintln(report, os.Getpid())
	_ = report.Close() // tells spawn that we run
	forever := make(chan os.Signal, 1)
	signal.Notify(forever, syscall.SIGUSR1)
	<-forever
}
