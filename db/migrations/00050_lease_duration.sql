-- +goose Up

-- How long the lease is, each time it is given: the time in which its holder
-- must have been able to renew it before anybody acts on its end.
ALTER TABLE runs ADD COLUMN lease_duration interval NOT NULL DEFAULT '0';

-- +goose Down

ALTER TABLE runs DROP COLUMN lease_duration;
