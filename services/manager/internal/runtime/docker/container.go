package docker

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/dockerengine"
	"github.com/poco-ai/poco/services/internal/egress"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

const (
	// containerPort is where the executor listens in its container.
	containerPort = 8000
	// workspaceTarget is where its workspace is.
	workspaceTarget = "/workspace"
	// stateTarget is where it keeps what the agent must not lose.
	stateTarget = "/var/lib/poco"
	// authoritiesTarget is where the machine's certificate authorities are.
	authoritiesTarget = "/etc/poco-authorities"
	// homeDir is writable, in memory, and ends with the container.
	homeDir = "/home/poco"

	// The log of one container takes at most logFiles times logFileSize.
	logFileSize = "10m"
	logFiles    = "3"

	// The tmpfs are bounded by the container's memory limit too.
	tmpSize  = "1g"
	homeSize = "512m"
	runSize  = "16m"

	// cpuPeriods is what one CPU is in the engine's NanoCpus.
	cpuPeriods = 1e9
)

func containerName(executorID string) string { return "poco-executor-" + executorID }

// containerOptions is the whole sandbox: everything that is not needed is off.
func (r *Runtime) containerOptions(spec runtime.Spec) (client.ContainerCreateOptions, error) {
	publish, err := netip.ParseAddr(r.cfg.PublishAddress)
	if err != nil {
		return client.ContainerCreateOptions{}, fmt.Errorf("docker runtime: EXECUTOR_PUBLISH_ADDRESS: %w", err)
	}
	wayOut, authorities, err := r.wayOut()
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	uid, gid := r.WorkspaceOwner()
	owner := fmt.Sprintf("uid=%d,gid=%d", uid, gid)
	yes := true
	resources := container.Resources{
		Memory: r.cfg.MemoryBytes,
		// The same as Memory: no swap on top of it.
		MemorySwap: r.cfg.MemoryBytes,
		NanoCPUs:   int64(r.cfg.CPUs * cpuPeriods),
	}
	if r.cfg.PidsLimit > 0 {
		resources.PidsLimit = &r.cfg.PidsLimit
	}
	return client.ContainerCreateOptions{
		Name: containerName(spec.ExecutorID),
		Config: &container.Config{
			Image:        r.cfg.Image,
			User:         fmt.Sprintf("%d:%d", uid, gid),
			Env:          environment(spec, wayOut),
			Labels:       r.labels(spec),
			ExposedPorts: network.PortSet{executorPort: {}},
			// Not the workspace: an .env file in it is the agent's, not a setting.
			WorkingDir: "/",
			StopSignal: "SIGTERM",
		},
		HostConfig: &container.HostConfig{
			Mounts: append([]mount.Mount{
				{Type: mount.TypeBind, Source: spec.WorkspaceDir, Target: workspaceTarget},
				{Type: mount.TypeBind, Source: spec.StateDir, Target: stateTarget},
			}, authorities...),
			PortBindings: network.PortMap{
				executorPort: {{HostIP: publish, HostPort: "0"}}, // 0: the engine takes a free one
			},
			ExtraHosts:     extraHosts(),
			CapDrop:        []string{"ALL"},
			SecurityOpt:    []string{"no-new-privileges"},
			ReadonlyRootfs: true,
			Tmpfs: map[string]string{
				// Agents build and run programs in these, so exec is on.
				"/tmp":     "rw,exec,nosuid,nodev,mode=1777,size=" + tmpSize,
				"/var/tmp": "rw,exec,nosuid,nodev,mode=1777,size=" + tmpSize,
				homeDir:    "rw,exec,nosuid,nodev,mode=0700,size=" + homeSize + "," + owner,
				"/run":     "rw,noexec,nosuid,nodev,mode=0755,size=" + runSize + "," + owner,
			},
			Init:          &yes,
			IpcMode:       container.IPCModePrivate,
			RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
			LogConfig:     logConfig(),
			Resources:     resources,
		},
	}, nil
}

// extraHosts name the machine, on which the manager is.
func extraHosts() []string { return []string{dockerengine.GatewayHost + ":host-gateway"} }

func logConfig() container.LogConfig {
	return container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": logFileSize, "max-file": logFiles}}
}

// wayOut is how a container gets out of the machine: the variables, and what is
// mounted for them.
func (r *Runtime) wayOut() (map[string]string, []mount.Mount, error) {
	env, copied, err := egress.Container(r.cfg.AuthoritiesDir, authoritiesTarget, dockerengine.GatewayHost, r.cfg.Direct...)
	if err != nil {
		return nil, nil, fmt.Errorf("docker runtime: the machine's certificate authorities cannot be handed to containers: %w", err)
	}
	if !copied {
		return env, nil, nil
	}
	return env, []mount.Mount{{Type: mount.TypeBind, Source: r.cfg.AuthoritiesDir, Target: authoritiesTarget, ReadOnly: true}}, nil
}

// environment is what the executor is told. Engines show it to everybody who
// may use them, and the agent can read it, so it holds no credential, but for
// one that the machine's proxy has in its URL: anyone who goes out needs that.
func environment(spec runtime.Spec, wayOut map[string]string) []string {
	values := maps.Clone(wayOut)
	maps.Copy(values, spec.Env)
	maps.Copy(values, map[string]string{
		"EXECUTOR_ID":         spec.ExecutorID,
		"EXECUTOR_TOKEN":      config.Hashed(spec.Token),
		"EXECUTOR_HOST":       "0.0.0.0",
		"EXECUTOR_PORT":       strconv.Itoa(containerPort),
		"WORKSPACE_PATH":      workspaceTarget,
		"EXECUTOR_STATE_PATH": stateTarget,
		"HOME":                homeDir,
		"POCO_ENV_FILE":       "/dev/null",
	})
	env := make([]string, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		env = append(env, name+"="+values[name])
	}
	return env
}

func (r *Runtime) labels(spec runtime.Spec) map[string]string {
	labels := maps.Clone(spec.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, map[string]string{
		LabelWorker:    r.cfg.WorkerID,
		LabelExecutor:  spec.ExecutorID,
		LabelRun:       spec.RunID,
		LabelAttempt:   strconv.Itoa(int(spec.Attempt)),
		LabelSession:   spec.SessionID,
		LabelUser:      spec.UserID,
		LabelMode:      string(spec.Mode),
		LabelWorkspace: spec.WorkspaceDir,
	})
	return labels
}

func ownedBy(info os.FileInfo, uid int) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == uid
}
