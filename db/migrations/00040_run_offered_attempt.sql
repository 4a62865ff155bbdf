-- +goose Up

-- The first attempt in which an executor may have been given the prompt; 0 while
-- none may. prompt_submitted says that an event proves that the agent took it.
ALTER TABLE runs ADD COLUMN offered_attempt integer NOT NULL DEFAULT 0;

-- +goose Down

ALTER TABLE runs DROP COLUMN offered_attempt;
