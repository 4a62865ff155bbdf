package store

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/poco-ai/poco/db/dbgen"
)

// A transaction saves what it has read, locked and changed in one way: all of its
// rows of a table in one statement, and only those that differ from what was read.

// save writes all that the transaction changed.
func (tx *Tx) save(ctx context.Context) error {
	if err := tx.saveContents(ctx); err != nil {
		return err
	}
	if err := tx.saveEvents(ctx); err != nil {
		return err
	}
	if err := tx.saveRuns(ctx); err != nil {
		return err
	}
	return tx.saveSessions(ctx)
}

func (tx *Tx) saveEvents(ctx context.Context) error {
	if len(tx.events.Seqs) > 0 {
		if err := tx.Later.RunEventInsertMany(ctx, tx.events); err != nil {
			return fmt.Errorf("insert events: %w", err)
		}
	}
	if len(tx.diffs.hashes) > 0 {
		if err := tx.Later.FileDiffInsertMany(ctx, tx.diffSessions, tx.diffs.hashes, tx.diffs.texts); err != nil {
			return fmt.Errorf("insert diffs: %w", err)
		}
	}
	if len(tx.messages.Seqs) > 0 {
		if err := tx.Later.MessageInsertMany(ctx, tx.messages); err != nil {
			return fmt.Errorf("insert messages: %w", err)
		}
	}
	return nil
}

// saveRuns writes runs, and drops what hangs on the state that they have left:
// the input of one that has ended, commands for the worker of one that no worker
// holds any more.
func (tx *Tx) saveRuns(ctx context.Context) error {
	var p dbgen.RunUpdateManyParams
	var ended, left []string
	for _, s := range tx.sessions {
		for _, r := range s.runs {
			if differs(&r.Run, &r.stored) {
				addRun(&p, &r.Run)
			}
			if r.Status.Final() && !r.stored.Status.Final() {
				ended = append(ended, r.ID)
			}
			if r.stored.Status.Active() && !r.Status.Active() {
				left = append(left, r.ID)
			}
		}
	}
	if len(p.Ids) > 0 {
		if err := tx.Later.RunUpdateMany(ctx, p); err != nil {
			return fmt.Errorf("save runs: %w", err)
		}
	}
	if len(ended) > 0 {
		if err := tx.Later.RunInputDeleteMany(ctx, ended); err != nil {
			return fmt.Errorf("drop the inputs of runs: %w", err)
		}
	}
	if len(left) > 0 {
		if err := tx.Later.RunCommandDeleteOfRuns(ctx, left); err != nil {
			return fmt.Errorf("drop the commands of runs: %w", err)
		}
	}
	return nil
}

func addRun(p *dbgen.RunUpdateManyParams, r *dbgen.Run) {
	p.Ids = append(p.Ids, r.ID)
	p.Statuses = append(p.Statuses, string(r.Status))
	p.StatusReasons = append(p.StatusReasons, r.StatusReason)
	p.StatusMessages = append(p.StatusMessages, r.StatusMessage)
	p.Progresses = append(p.Progresses, r.Progress)
	p.StartedAts = append(p.StartedAts, zero(r.StartedAt))
	p.FinishedAts = append(p.FinishedAts, zero(r.FinishedAt))
	p.WorkerIds = append(p.WorkerIds, zero(r.WorkerID))
	p.LeaseExpiresAts = append(p.LeaseExpiresAts, zero(r.LeaseExpiresAt))
	p.FencingTokens = append(p.FencingTokens, r.FencingToken)
	p.LastRunSeqs = append(p.LastRunSeqs, r.LastRunSeq)
	p.Attempts = append(p.Attempts, r.Attempt)
	p.OfferedAttempts = append(p.OfferedAttempts, r.OfferedAttempt)
	p.PromptSubmitteds = append(p.PromptSubmitteds, r.PromptSubmitted)
	p.ResumesCounts = append(p.ResumesCounts, r.Resumes)
	p.CancelMessages = append(p.CancelMessages, r.CancelMessage)
	p.FilesSeqs = append(p.FilesSeqs, r.FilesSeq)
}

func (tx *Tx) saveSessions(ctx context.Context) error {
	var p dbgen.SessionUpdateManyParams
	for _, s := range tx.sessions {
		s.noteIdle()
		if !differs(&s.Session, &s.stored) {
			continue
		}
		// Lists do not show how far a session is.
		s.stored.LastSeq = s.LastSeq
		if differs(&s.Session, &s.stored) {
			tx.hints.List(s.ID, s.UserID)
		}
		if s.DeletedAt != nil {
			tx.hints.Delete(s.ID)
		}
		s.UpdatedAt = Now()
		addSession(&p, &s.Session)
	}
	if len(p.Ids) == 0 {
		return nil
	}
	if err := tx.Later.SessionUpdateMany(ctx, p); err != nil {
		return fmt.Errorf("save sessions: %w", err)
	}
	return nil
}

// noteIdle keeps since when no run of the session waits or works.
func (s *Session) noteIdle() {
	switch idle := s.ActiveRunID == nil && s.QueuedRuns == 0; {
	case !idle:
		s.IdleSince = nil
	case s.IdleSince == nil:
		now := Now()
		s.IdleSince = &now
	}
}

func addSession(p *dbgen.SessionUpdateManyParams, s *dbgen.Session) {
	p.Ids = append(p.Ids, s.ID)
	p.ProjectIds = append(p.ProjectIds, zero(s.ProjectID))
	p.Titles = append(p.Titles, s.Title)
	p.Statuses = append(p.Statuses, string(s.Status))
	p.LastSeqs = append(p.LastSeqs, s.LastSeq)
	p.ActiveRunIds = append(p.ActiveRunIds, zero(s.ActiveRunID))
	p.LatestRunIds = append(p.LatestRunIds, zero(s.LatestRunID))
	p.QueuedRunsCounts = append(p.QueuedRunsCounts, s.QueuedRuns)
	p.OpenQuestionsCounts = append(p.OpenQuestionsCounts, s.OpenQuestions)
	p.AgentSessionIds = append(p.AgentSessionIds, s.AgentSessionIds.JSON())
	p.WorkerIds = append(p.WorkerIds, zero(s.WorkerID))
	p.ExportStatuses = append(p.ExportStatuses, string(s.ExportStatus))
	p.ExportReasons = append(p.ExportReasons, s.ExportReason)
	p.ExportRunIds = append(p.ExportRunIds, zero(s.ExportRunID))
	p.ManifestKeys = append(p.ManifestKeys, s.ManifestKey)
	p.ArchiveKeys = append(p.ArchiveKeys, s.ArchiveKey)
	p.FilesPrefixes = append(p.FilesPrefixes, s.FilesPrefix)
	p.SnapshotKeys = append(p.SnapshotKeys, s.SnapshotKey)
	p.SnapshotRunIds = append(p.SnapshotRunIds, zero(s.SnapshotRunID))
	p.DeletedAts = append(p.DeletedAts, zero(s.DeletedAt))
	p.IdleSinces = append(p.IdleSinces, zero(s.IdleSince))
	p.UpdatedAts = append(p.UpdatedAts, s.UpdatedAt)
}

// differs compares a row with what was read.
func differs[Row dbgen.Run | dbgen.Session](row, stored *Row) bool {
	return !reflect.DeepEqual(row, stored)
}

// zero is what a pointer stands for in an array, which has no NULL.
func zero[T string | time.Time](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}
