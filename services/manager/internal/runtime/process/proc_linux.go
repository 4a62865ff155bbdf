package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// reapedTimeout bounds the wait for another process to collect an executor that
// is not our child; only then the kernel tells us how it ended.
const reapedTimeout = 200 * time.Millisecond

// proc is a handle on one process that stays right when its number is given to
// another one: a pidfd.
type proc struct {
	pid  int
	file *os.File
}

// openProc opens the process pid if it is still the one that identity says.
func openProc(pid int, want string) (*proc, error) {
	if pid <= 0 {
		return nil, errNoProcess
	}
	// A non-blocking pidfd waits in the Go poller and holds no thread.
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, errNoProcess
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	p := &proc{pid: pid, file: os.NewFile(uintptr(fd), "pidfd:"+strconv.Itoa(pid))}
	// Compared after opening: from here on the handle cannot change its meaning.
	if got, err := identity(pid); err != nil || got != want {
		p.close()
		return nil, errNoProcess
	}
	return p, nil
}

// close frees the handle; a nil one is fine.
func (p *proc) close() {
	if p != nil {
		_ = p.file.Close() // nothing was written
	}
}

// wait blocks until the process has ended.
func (p *proc) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		_ = p.file.SetReadDeadline(time.Unix(1, 0)) // fails only when closed, which ends the read as well
	})
	defer stop()
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var pollErr error
	err = conn.Read(func(fd uintptr) bool {
		var events int16
		events, pollErr = poll(fd, 0, unix.POLLIN)
		return pollErr != nil || events&(unix.POLLIN|unix.POLLHUP) != 0
	})
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(err, pollErr)
}

// exit tells how an ended process ended, and collects it when it is our child.
func (p *proc) exit() runtime.Exit {
	conn, err := p.file.SyscallConn()
	exit := runtime.Exit{Code: runtime.CodeUnknown}
	if err != nil {
		return exit
	}
	_ = conn.Control(func(fd uintptr) { // fails only when closed
		status, known := waitStatus(fd, p.pid)
		if known {
			exit = exitOf(status)
		}
	})
	return exit
}

func exitOf(status syscall.WaitStatus) runtime.Exit {
	if status.Signaled() {
		return runtime.Exit{Code: 128 + int(status.Signal()), Signal: status.Signal()}
	}
	return runtime.Exit{Code: status.ExitStatus()}
}

func waitStatus(fd uintptr, pid int) (syscall.WaitStatus, bool) {
	// WNOWAIT proves that the handle's process is our child and keeps its number
	// from being given away; Wait4 then collects it.
	if err := retry(func() error {
		return unix.Waitid(unix.P_PIDFD, int(fd), nil, unix.WEXITED|unix.WNOWAIT, nil)
	}); err == nil {
		var status unix.WaitStatus
		collected := 0
		err := retry(func() (err error) {
			collected, err = unix.Wait4(pid, &status, 0, nil)
			return err
		})
		if err == nil && collected == pid {
			return syscall.WaitStatus(status), true
		}
	}
	// Linux 6.15 and later tell anybody, once the parent has collected it.
	if _, err := poll(fd, reapedTimeout, unix.POLLHUP); err != nil {
		return 0, false
	}
	query := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(int(fd), &query); err != nil || query.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return 0, false
	}
	return syscall.WaitStatus(query.Exit_code), true
}

func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// poll waits up to timeout for one of the events on fd and returns those that
// have happened.
func poll(fd uintptr, timeout time.Duration, events int16) (int16, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	err := retry(func() error {
		_, err := unix.Poll(fds, int(timeout.Milliseconds()))
		return err
	})
	return fds[0].Revents, err
}

// signal sends a signal; errNoProcess when the process has ended.
func (p *proc) signal(sig syscall.Signal) error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	if err := conn.Control(func(fd uintptr) {
		sendErr = unix.PidfdSendSignal(int(fd), sig, nil, 0)
	}); err != nil {
		return err
	}
	if errors.Is(sendErr, unix.ESRCH) {
		return errNoProcess
	}
	return sendErr
}

// bootID changes with every start of the machine, and process numbers begin anew.
var bootID = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(id))
})

// identity tells a process from any other that ever had its number.
func identity(pid int) (string, error) {
	info, alive, err := readStat(pid)
	if err != nil {
		return "", err
	}
	if !alive && info.pid == 0 {
		return "", errNoProcess
	}
	return info.identity, nil
}

// readStat reads what is known of a process. alive is false for one that has ended
// and was not collected yet.
func readStat(pid int) (info procInfo, alive bool, err error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return procInfo{}, false, unlessGone(err)
	}
	return statOf(p)
}

func statOf(p procfs.Proc) (info procInfo, alive bool, err error) {
	stat, err := p.Stat()
	if err != nil {
		return procInfo{}, false, unlessGone(err)
	}
	info = procInfo{pid: p.PID, parent: stat.PPID, session: stat.Session, identity: bootID() + ":" + strconv.FormatUint(stat.Starttime, 10)}
	return info, stat.State != "Z" && stat.State != "X", nil
}

// unlessGone is an error that does not say that there is no such process.
func unlessGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// processes lists what runs on this machine, without what has ended.
func processes() ([]procInfo, error) {
	running, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	var all []procInfo
	for _, p := range running {
		if info, alive, err := statOf(p); err == nil && alive {
			all = append(all, info)
		}
	}
	return all, nil
}

// hasMarker tells whether the environment a process was started with has the
// entry. False for what we may not look into: it is another user's.
func hasMarker(pid int, entry string) bool {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return false
	}
	env, err := p.Environ()
	return err == nil && slices.Contains(env, entry)
}
