package config

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long nothing may happen before files that changed are read:
	// editors write in several steps.
	quiet = 50 * time.Millisecond
	// longestNoise is how long to wait for that at most.
	longestNoise = time.Second
	// lookInterval is how often the files are looked at anyway: network file
	// systems and some container mounts notify nobody.
	lookInterval = 30 * time.Second
)

// Watch reloads the files when they change, until ctx ends, and logs what
// happened by the names of variables.
func (l *Loaded[T]) Watch(ctx context.Context, logger *slog.Logger) {
	l.logger.Store(logger)
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		logger.WarnContext(ctx, "files of the configuration are looked at now and then only", "interval", lookInterval, "error", err)
	}
	var events chan fsnotify.Event
	var failures chan error
	if watcher != nil {
		events, failures = watcher.Events, watcher.Errors
		defer watcher.Close()
	}
	unwatched := map[string]bool{}
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	settled := time.NewTimer(0) // look at once: something may have changed since the start
	defer settled.Stop()
	var noisySince time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			if noisySince.IsZero() {
				noisySince = time.Now()
			}
			settled.Reset(min(quiet, max(0, longestNoise-time.Since(noisySince))))
			continue
		case err := <-failures: // notifications may be lost: look
			logger.DebugContext(ctx, "watch the files of the configuration", "error", err)
		case <-ticker.C:
		case <-settled.C:
		}
		noisySince = time.Time{}
		l.Refresh()
		if watcher == nil {
			continue
		}
		added := map[string]bool{}
		for l.follow(watcher, added, unwatched) {
			l.Refresh() // what changed before it was watched
		}
	}
}

// follow watches the folders that matter now, and tells whether that is one
// more than those in added, to which it adds it. A folder that cannot be watched
// is said once, for the log may be in a folder that is watched, and is then one
// of those in unwatched.
func (l *Loaded[T]) follow(watcher *fsnotify.Watcher, added, unwatched map[string]bool) (more bool) {
	l.mu.Lock()
	folders := l.stamps.folders()
	l.mu.Unlock()
	for _, folder := range watcher.WatchList() {
		if !slices.Contains(folders, folder) {
			_ = watcher.Remove(folder) // gone by itself with its folder
		}
	}
	watched := watcher.WatchList()
	for _, folder := range folders {
		if slices.Contains(watched, folder) {
			continue
		}
		if err := watcher.Add(folder); err != nil {
			if !unwatched[folder] {
				unwatched[folder] = true
				l.logger.Load().Debug("a folder cannot be watched; it is looked at now and then", "folder", folder, "error", err)
			}
			continue
		}
		delete(unwatched, folder)
		// A folder that is mounted in two places stays on the list under one of its
		// paths, however often the other is added.
		more = more || !added[folder]
		added[folder] = true
	}
	return more
}
