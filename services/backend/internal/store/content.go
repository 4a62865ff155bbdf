package store

import (
	"bytes"
	"context"
	"fmt"

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

func (s *Session) loadContents(ctx context.Context) error {
	if s.contents != nil {
		return nil
	}
	row, err := s.tx.Q.SessionContentGet(ctx, s.ID)
	if err != nil {
		return fmt.Errorf("read the contents of session %s: %w", s.ID, err)
	}
	cfg, state, err := DecodeContent(&row)
	if err != nil {
		return err
	}
	s.contents = &contents{stored: row, config: cfg, state: state}
	return nil
}

// saveContents writes them when they have changed.
func (s *Session) saveContents(ctx context.Context) error {
	if s.contents == nil {
		return nil
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
		return nil
	}
	err = s.tx.Later.SessionContentUpdate(ctx, config, state, s.ID)
	if err != nil {
		return fmt.Errorf("save the contents of session %s: %w", s.ID, err)
	}
	s.Changed()
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
