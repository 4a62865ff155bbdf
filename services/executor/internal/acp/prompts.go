package acp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// promptsDirName is where keepPrompt keeps its notes, in the agent's private folder.
const promptsDirName = "poco-prompts"

// maxConversationID is far above what agents call their conversations.
const maxConversationID = 1024

// keepPrompt notes that a conversation is about to be given a prompt. Agents do not
// keep the prompt's id, so that nobody could find out later whether they have it.
func keepPrompt(stateDir, promptID, conversation string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("note that the prompt is given: %w", err)
		}
	}()
	root, err := os.OpenRoot(stateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := root.MkdirAll(promptsDirName, 0o700); err != nil {
		return err
	}
	name := filepath.Join(promptsDirName, promptID)
	// Not over what is there: opening a FIFO of the agent's would never end.
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(conversation)
	return errors.Join(err, file.Close())
}

// conversationOf returns the conversation that was given a prompt; empty for none.
func conversationOf(stateDir, promptID string) (string, error) {
	root, err := os.OpenRoot(stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open the notes of prompts: %w", err)
	}
	defer func() { _ = root.Close() }() // It was only read.
	name := filepath.Join(promptsDirName, promptID)
	info, err := root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for the note of a prompt: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("the note of a prompt is no file any more")
	}
	file, err := root.Open(name)
	if err != nil {
		return "", fmt.Errorf("read the note of a prompt: %w", err)
	}
	defer func() { _ = file.Close() }() // It was only read.
	data, err := io.ReadAll(io.LimitReader(file, maxConversationID))
	if err != nil {
		return "", fmt.Errorf("read the note of a prompt: %w", err)
	}
	return string(data), nil
}
