package process

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// proc is a handle on one process. Its number may in theory be another
// process's by the time it is used, because macOS has no pidfd; identity is
// compared right before.
type proc struct {
	pid      int
	identity string
}

func openProc(pid int, want string) (*proc, error) {
	if pid <= 0 {
		return nil, errNoProcess
	}
	if got, err := identity(pid); err != nil || got != want {
		return nil, errNoProcess
	}
	return &proc{pid: pid, identity: want}, nil
}

func (p *proc) close() {}

// wait blocks until the process has ended, through kqueue.
func (p *proc) wait(ctx context.Context) error {
	kq, err := unix.Kqueue()
	if err != nil {
		return err
	}
	defer unix.Close(kq)
	const wake = 1
	changes := make([]unix.Kevent_t, 2)
	unix.SetKevent(&changes[0], p.pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	changes[0].Fflags = unix.NOTE_EXIT
	unix.SetKevent(&changes[1], wake, unix.EVFILT_USER, unix.EV_ADD|unix.EV_CLEAR)
	for _, change := range changes {
		if _, err := unix.Kevent(kq, []unix.Kevent_t{change}, nil, nil); errors.Is(err, unix.ESRCH) {
			return nil
		} else if err != nil {
			return fmt.Errorf("watch process %d: %w", p.pid, err)
		}
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		trigger := make([]unix.Kevent_t, 1)
		unix.SetKevent(&trigger[0], wake, unix.EVFILT_USER, 0)
		trigger[0].Fflags = unix.NOTE_TRIGGER
		_, _ = unix.Kevent(kq, trigger, nil, nil) // the queue is ours and open
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	events := make([]unix.Kevent_t, 1)
	for {
		n, err := unix.Kevent(kq, nil, events, nil)
		switch {
		case errors.Is(err, unix.EINTR) || err == nil && n == 0:
			continue
		case err != nil:
			return err
		case events[0].Filter == unix.EVFILT_PROC:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// exit tells how an ended child ended and collects it; CodeUnknown for others.
func (p *proc) exit() runtime.Exit {
	var status unix.WaitStatus
	for {
		pid, err := unix.Wait4(p.pid, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid != p.pid {
			return runtime.Exit{Code: runtime.CodeUnknown}
		}
		break
	}
	if status.Signaled() {
		return runtime.Exit{Code: 128 + int(status.Signal()), Signal: status.Signal()}
	}
	return runtime.Exit{Code: status.ExitStatus()}
}

func (p *proc) signal(sig syscall.Signal) error {
	if got, err := identity(p.pid); err != nil || got != p.identity {
		return errNoProcess
	}
	err := unix.Kill(p.pid, sig)
	if errors.Is(err, unix.ESRCH) {
		return errNoProcess
	}
	return err
}

func identity(pid int) (string, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || int(info.Proc.P_pid) != pid {
		return "", errNoProcess
	}
	return identityOf(info), nil
}

func identityOf(info *unix.KinfoProc) string {
	return fmt.Sprintf("%d.%06d", info.Proc.P_starttime.Sec, info.Proc.P_starttime.Usec)
}

// processes lists what runs on this machine, without what has ended.
func processes() ([]procInfo, error) {
	list, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return nil, err
	}
	const zombie = 5 // SZOMB of sys/proc.h
	var all []procInfo
	for i := range list {
		info := &list[i]
		if info.Proc.P_stat == zombie {
			continue
		}
		pid := int(info.Proc.P_pid)
		session, err := unix.Getsid(pid)
		if err != nil {
			session = 0
		}
		all = append(all, procInfo{pid: pid, parent: int(info.Eproc.Ppid), session: session, identity: identityOf(info)})
	}
	return all, nil
}

// hasMarker is always false: macOS does not show environments. Sessions and
// parents are enough for what does not hide on purpose.
func hasMarker(int, string) bool { return false }
