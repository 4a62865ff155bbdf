package store

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// contents are what a session shows and hands on: more than a row, and not
// needed for most of what is done under its lock.
type contents struct {
	stored dbgen.SessionContent
	config *backendv1.TaskConfig
	state  *backendv1.SessionState
}

// State returns what the session shows, read on first use. Change it; Do saves
// it.
func (s *Session) State(ctx context.Context) (*backendv1.SessionState, error) {
	if err := s.loadContents(ctx); err != nil {
		return nil, err
	}
	return s.contents.state, nil
}

// Config returns what the session's prompts inherit, read on first use.
func (s *Session) Config(ctx context.Context) (*backendv1.TaskConfig, error) {
	if err := s.loadContents(ctx); err != nil {
		return nil, err
	}
	return s.contents.config, nil
}

// SetConfig changes what the session's prompts inherit.
func (s *Session) SetConfig(ctx context.Context, cfg *backendv1.TaskConfig) error {
	if err := s.loadContents(ctx); err != nil {
		return err
	}
	s.contents.config = cfg
	return nil
}

// loadContents reads them for all sessions of the transaction: what one needs,
// the others are likely to need as well.
func (s *Session) loadContents(ctx context.Context) error {
	if s.contents != nil {
		return nil
	}
	missing := make(map[string]*Session)
	for _, other := range s.tx.sessions {
		if other.contents == nil {
			missing[other.ID] = other
		}
	}
	rows, err := s.tx.Q.SessionContentList(ctx, slices.Collect(maps.Keys(missing)))
	if err != nil {
		return fmt.Errorf("read the contents of sessions: %w", err)
	}
	for _, row := range rows {
		cfg, state, err := DecodeContent(&row)
		if err != nil {
			return err
		}
		missing[row.SessionID].contents = &contents{stored: row, config: cfg, state: state}
	}
	if s.contents == nil {
		return fmt.Errorf("session %s has no contents", s.ID)
	}
	return nil
}

// saveContents writes those that have changed.
func (tx *Tx) saveContents(ctx context.Context) error {
	for _, s := range tx.sessions {
		if s.contents == nil {
			continue
		}
		config, err := Marshal(s.contents.config)
		if err != nil {
			return err
		}
		state, err := Marshal(s.contents.state)
		if err != nil {
			return err
		}
		if bytes.Equal(config, s.contents.stored.Config) && bytes.Equal(state, s.contents.stored.State) {
			continue
		}
		if err := tx.Later.SessionContentUpdate(ctx, config, state, s.ID); err != nil {
			return fmt.Errorf("save the contents of session %s: %w", s.ID, err)
		}
		tx.hints.List(s.ID, s.UserID)
	}
	return nil
}

// DecodeContent decodes a session's contents.
func DecodeContent(row *dbgen.SessionContent) (*backendv1.TaskConfig, *backendv1.SessionState, error) {
	cfg, state := new(backendv1.TaskConfig), new(backendv1.SessionState)
	if err := proto.Unmarshal(row.Config, cfg); err != nil {
		return nil, nil, fmt.Errorf("decode the config of session %s: %w", row.SessionID, err)
	}
	if err := proto.Unmarshal(row.State, state); err != nil {
		return nil, nil, fmt.Errorf("decode the state of session %s: %w", row.SessionID, err)
	}
	return cfg, state, nil
}
