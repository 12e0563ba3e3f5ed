-- The first schema. Instants are bigint milliseconds since the Unix epoch, UTC, by the database's clock.
-- Ids of events (key), deliveries and attempts rise and carry the day they were made: (days since 2024-01-01) * 2^39 + n,
-- n from the sequence below.
--
-- Written so that it can be spread over nodes: a table that grows carries the bucket of its company (0 to 255; rows of
-- keys and event ids: of a hash of their text), last in every key, and no other unique key exists. No foreign key
-- crosses buckets or leads to a global table. A `-- distribute:` line says how each table would be spread. Text that is
-- a key is compared byte by byte, whatever the database's collation is or becomes.
--
-- What happened is kept apart from what is going on, in partitions by day: an id tells its own. They are made ahead and
-- dropped whole by `storage.postgres.days`; where one is missing, rows lie in the partition named `_rest`.

-- Begins again after 2^39 - 1: at a thousand ids a second in 17 years, and then only the order within that day suffers.
CREATE SEQUENCE ids AS bigint MAXVALUE 549755813887 CYCLE;

-- --- global ----------------------------------------------------------------------------------------------------------

CREATE TABLE installation (
  only_row boolean NOT NULL,
  change_counter bigint NOT NULL,       -- rises with each change of tokens, companies, catalogue
  catalogue_revision bigint NOT NULL,
  probed_at bigint NOT NULL             -- written by the readiness probe
);
-- distribute: reference
ALTER TABLE installation ADD CONSTRAINT installation_pkey PRIMARY KEY (only_row);
ALTER TABLE installation ADD CONSTRAINT installation_only_row CHECK (only_row);

CREATE TABLE companies (
  id integer NOT NULL,
  name text NOT NULL,
  revision bigint NOT NULL DEFAULT 1,   -- rises with each change of its subscriptions
  retention_days integer,
  created_at bigint NOT NULL,
  deleted_at bigint,
  bucket smallint NOT NULL              -- set when the company is made, never changed, copied into each of its rows
);
-- distribute: reference
ALTER TABLE companies ADD CONSTRAINT companies_pkey PRIMARY KEY (id);
ALTER TABLE companies ADD CONSTRAINT companies_id CHECK (id >= 1);
ALTER TABLE companies ADD CONSTRAINT companies_name CHECK (name <> '');
ALTER TABLE companies ADD CONSTRAINT companies_retention CHECK (retention_days > 0);
ALTER TABLE companies ADD CONSTRAINT companies_bucket CHECK (bucket BETWEEN 0 AND 255);

-- Of people and programs of a company; each may hold many short-lived tokens.
CREATE TABLE accounts (
  id integer NOT NULL,
  company_id integer NOT NULL,
  username text COLLATE "C" NOT NULL,
  password text,                        -- scrypt, as passwords.py writes it; null: no login by password
  secret_hash bytea NOT NULL,
  created_at bigint NOT NULL
);
-- distribute: reference
ALTER TABLE accounts ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);
ALTER TABLE accounts ADD CONSTRAINT accounts_username_once UNIQUE (username);
ALTER TABLE accounts ADD CONSTRAINT accounts_company FOREIGN KEY (company_id) REFERENCES companies (id);
ALTER TABLE accounts ADD CONSTRAINT accounts_id CHECK (id >= 1);
ALTER TABLE accounts ADD CONSTRAINT accounts_username CHECK (username <> '');
ALTER TABLE accounts ADD CONSTRAINT accounts_secret_hash CHECK (length(secret_hash) = 32);
CREATE INDEX accounts_of_company ON accounts (company_id, id);

CREATE TABLE tokens (
  id integer NOT NULL,
  company_id integer,
  name text NOT NULL,
  role text NOT NULL,
  hash bytea NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint,
  account_id integer,
  is_pass boolean NOT NULL              -- made by signing in: for a session, in no list
);
-- distribute: reference
ALTER TABLE tokens ADD CONSTRAINT tokens_pkey PRIMARY KEY (id);
ALTER TABLE tokens ADD CONSTRAINT tokens_hash_once UNIQUE (hash);
ALTER TABLE tokens ADD CONSTRAINT tokens_company FOREIGN KEY (company_id) REFERENCES companies (id);
ALTER TABLE tokens ADD CONSTRAINT tokens_id CHECK (id >= 1);
ALTER TABLE tokens ADD CONSTRAINT tokens_hash CHECK (length(hash) = 32);
ALTER TABLE tokens ADD CONSTRAINT tokens_role CHECK (role IN ('operator', 'publisher', 'member', 'viewer'));
ALTER TABLE tokens ADD CONSTRAINT tokens_owner CHECK ((company_id IS NULL) = (role IN ('operator', 'publisher')));
ALTER TABLE tokens ADD CONSTRAINT tokens_account FOREIGN KEY (account_id) REFERENCES accounts (id);
ALTER TABLE tokens ADD CONSTRAINT tokens_of_account_pass CHECK (account_id IS NULL OR (role = 'member' AND is_pass));
ALTER TABLE tokens ADD CONSTRAINT tokens_pass_ends CHECK (NOT is_pass OR expires_at IS NOT NULL);
CREATE INDEX tokens_of_company ON tokens (company_id, is_pass, id);
CREATE INDEX tokens_of_account ON tokens (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX passes_expiry ON tokens (expires_at) WHERE is_pass;

-- Each signs somebody in once, and is gone then. The hash is that of the code in the link.
CREATE TABLE links (
  hash bytea NOT NULL,
  company_id integer,
  role text NOT NULL,
  name text NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  session_ms bigint NOT NULL
);
-- distribute: reference
ALTER TABLE links ADD CONSTRAINT links_pkey PRIMARY KEY (hash);
ALTER TABLE links ADD CONSTRAINT links_company FOREIGN KEY (company_id) REFERENCES companies (id);
ALTER TABLE links ADD CONSTRAINT links_hash CHECK (length(hash) = 32);
ALTER TABLE links ADD CONSTRAINT links_role CHECK (role IN ('operator', 'member', 'viewer'));
ALTER TABLE links ADD CONSTRAINT links_owner CHECK ((company_id IS NULL) = (role = 'operator'));
ALTER TABLE links ADD CONSTRAINT links_session CHECK (session_ms > 0);
CREATE INDEX links_of_company ON links (company_id);
CREATE INDEX links_expiry ON links (expires_at);

CREATE TABLE event_types (
  name text COLLATE "C" NOT NULL,
  v1_name text COLLATE "C",
  v2_name text COLLATE "C",
  kind text NOT NULL,
  description text,
  schema bytea                          -- JSON as it was given
);
-- distribute: reference
ALTER TABLE event_types ADD CONSTRAINT event_types_pkey PRIMARY KEY (name);
ALTER TABLE event_types ADD CONSTRAINT event_types_v1_name_once UNIQUE (v1_name);
ALTER TABLE event_types ADD CONSTRAINT event_types_v2_name_once UNIQUE (v2_name);
ALTER TABLE event_types ADD CONSTRAINT event_types_kind CHECK (kind IN ('ordinary', 'ping', 'operational'));

-- What the catalogue said, by revision, so that "why was this not delivered" can be answered after it changed.
CREATE TABLE event_type_revisions (
  name text COLLATE "C" NOT NULL,
  revision bigint NOT NULL,
  v1_name text,
  v2_name text,
  kind text                             -- null: deleted by this revision
);
-- distribute: reference
ALTER TABLE event_type_revisions ADD CONSTRAINT event_type_revisions_pkey PRIMARY KEY (name, revision);

-- Processes that work on this database, as each says now and then: for people alone.
CREATE TABLE nodes (
  id text COLLATE "C" NOT NULL,
  name text NOT NULL,
  version text NOT NULL,
  roles text NOT NULL,
  started_at bigint NOT NULL,
  seen_at bigint NOT NULL,
  skew_ms bigint NOT NULL,              -- its clock is so far ahead of the database's
  in_flight integer NOT NULL,
  max_in_flight integer NOT NULL,
  attempts_per_second double precision NOT NULL,
  since_claim_ms bigint                 -- null: it claims nothing
) WITH (fillfactor = 50);
-- distribute: reference
ALTER TABLE nodes ADD CONSTRAINT nodes_pkey PRIMARY KEY (id);

-- --- of one company --------------------------------------------------------------------------------------------------

CREATE TABLE subscriptions (
  id integer NOT NULL,                  -- once in all buckets: who makes one holds the lock of `installation`
  company_id integer NOT NULL,
  revision bigint NOT NULL,
  callback_url text NOT NULL,
  event_types text,                     -- JSON array of names as it sees them; null: every ordinary type
  payload_version text NOT NULL,
  policies text NOT NULL,               -- JSON, model.Policies; nothing secret
  secrets text NOT NULL,                -- JSON array of model.Secret, sealed
  auth_type text NOT NULL,
  auth_sealed bytea,
  headers_sealed bytea,
  trust_sealed bytea,                   -- client certificate, its key and further authorities
  active boolean NOT NULL,
  inactive_reason text,
  inactive_at bigint,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  deleted_at bigint,
  bucket smallint NOT NULL
);
-- distribute: bucket
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (id, bucket);
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_id CHECK (id >= 1);
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_payload_version
  CHECK (payload_version IN ('V1', 'V2', 'STANDARD', 'RAW'));
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_inactive CHECK (active = (inactive_at IS NULL));
CREATE INDEX subscriptions_of_company ON subscriptions (company_id, id) WHERE deleted_at IS NULL;
CREATE INDEX subscriptions_deleted ON subscriptions (id) WHERE deleted_at IS NOT NULL;
CREATE INDEX subscriptions_inactive ON subscriptions (inactive_at) WHERE inactive_at IS NOT NULL AND deleted_at IS NULL;

-- What matching saw of a subscription, by its company's revision; read where an event's revision is asked for.
CREATE TABLE subscription_revisions (
  company_id integer NOT NULL,
  subscription_id integer NOT NULL,
  revision bigint NOT NULL,             -- of the company
  route text,                           -- JSON, model.Route; null: deleted by this revision
  bucket smallint NOT NULL
);
-- distribute: bucket
ALTER TABLE subscription_revisions ADD CONSTRAINT subscription_revisions_pkey
  PRIMARY KEY (company_id, subscription_id, revision, bucket);

-- The queue of one subscription. Claims look here first, and hold its lock while they count what is in flight.
CREATE TABLE lanes (
  subscription_id integer NOT NULL,
  company_id integer NOT NULL,
  host text NOT NULL,
  hold_until bigint,                    -- Retry-After: nothing starts earlier
  -- When a claim should look here: the due time of the first pending row, but not before hold_until; null with none,
  -- or with all slots taken, for then the end of an attempt sets it again. A hint: a publish lowers it, so it may be
  -- too early, and a publish that had not committed yet may be missing from it until it is repaired.
  next_due bigint,
  next_start_us bigint,                 -- rate: no attempt starts earlier
  failing_since bigint,                 -- when the first of the failures in a row ended
  probe_at bigint,                      -- the circuit is open: when one delivery may be tried
  rate_per_second double precision,     -- the policy's, or what the receiver allowed, whichever is less
  allowed_per_second double precision,  -- by the receiver, as it granted; null: no limit
  validate_at bigint,                   -- when it should be asked next; null: there is nothing to ask now
  validation_url text,                  -- the policy `validation`: what the receiver must grant; null: nothing
  slots integer NOT NULL,
  slots_max integer NOT NULL,
  failed_in_a_row integer NOT NULL DEFAULT 0,
  validate_tries integer NOT NULL DEFAULT 0,
  is_granted boolean NOT NULL DEFAULT false,
  is_open boolean NOT NULL,             -- active, granted and not deleted
  is_ordered boolean NOT NULL,          -- one at a time, the lowest open id first
  bucket smallint NOT NULL
) WITH (fillfactor = 50);               -- one small row a subscription, written at every turn: room to stay on its page
-- distribute: bucket
ALTER TABLE lanes ADD CONSTRAINT lanes_pkey PRIMARY KEY (subscription_id, bucket);
ALTER TABLE lanes ADD CONSTRAINT lanes_subscription
  FOREIGN KEY (subscription_id, bucket) REFERENCES subscriptions (id, bucket);
ALTER TABLE lanes ADD CONSTRAINT lanes_slots CHECK (slots >= 1);
ALTER TABLE lanes ADD CONSTRAINT lanes_slots_max CHECK (slots_max BETWEEN 1 AND 100);
ALTER TABLE lanes ADD CONSTRAINT lanes_rate CHECK (rate_per_second > 0);
CREATE INDEX lanes_due ON lanes (next_due) WHERE is_open AND next_due IS NOT NULL;
CREATE INDEX lanes_unvalidated ON lanes (validate_at) WHERE validate_at IS NOT NULL;

-- --- events ----------------------------------------------------------------------------------------------------------

-- Every event by its id, publisher's or ours; its bucket is that of a hash of the id.
CREATE TABLE event_keys (
  id text COLLATE "C" NOT NULL,
  fingerprint bytea,                    -- null: the id is ours
  event_type text NOT NULL,
  key bigint NOT NULL,
  accepted_at bigint NOT NULL,
  deliveries integer NOT NULL,          -- as first answered, like the three above
  event_bucket smallint NOT NULL,
  bucket smallint NOT NULL
);
-- distribute: bucket
ALTER TABLE event_keys ADD CONSTRAINT event_keys_pkey PRIMARY KEY (id, bucket);
ALTER TABLE event_keys ADD CONSTRAINT event_keys_fingerprint CHECK (length(fingerprint) = 32);

-- A body is stored once, in the bucket of its first recipient.
CREATE TABLE events (
  key bigint NOT NULL,
  id text NOT NULL,
  event_type text NOT NULL,
  data bytea,                           -- compact JSON; null once erased
  occurred_at bigint NOT NULL,
  accepted_at bigint NOT NULL,
  catalogue_revision bigint NOT NULL,
  company_ids integer[] NOT NULL,       -- of its recipients: who may read it
  bucket smallint NOT NULL
) PARTITION BY RANGE (key);
-- distribute: bucket
CREATE TABLE events_rest PARTITION OF events DEFAULT;
ALTER TABLE events ADD CONSTRAINT events_pkey PRIMARY KEY (key, bucket);
CREATE INDEX events_erased ON events (key) WHERE data IS NULL;

CREATE TABLE recipients (
  company_id integer NOT NULL,
  event_key bigint NOT NULL,
  company_revision bigint NOT NULL,
  accepted_at bigint NOT NULL,          -- of the event, as its type: a company's list needs no other bucket
  event_type text NOT NULL,
  entries text,                         -- JSON array of model.Entry; null where they say nothing
  event_bucket smallint NOT NULL,
  bucket smallint NOT NULL
) PARTITION BY RANGE (event_key);
-- distribute: bucket
CREATE TABLE recipients_rest PARTITION OF recipients DEFAULT;
ALTER TABLE recipients ADD CONSTRAINT recipients_pkey PRIMARY KEY (company_id, event_key, bucket);
CREATE INDEX recipients_of_event ON recipients (event_key);

CREATE TABLE idempotency_keys (
  key text COLLATE "C" NOT NULL,
  fingerprint bytea NOT NULL,
  answer text NOT NULL,                 -- JSON array of protocol.Accepted: the first answer
  expires_at bigint NOT NULL,
  bucket smallint NOT NULL              -- of a hash of the key
);
-- distribute: bucket
ALTER TABLE idempotency_keys ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (key, bucket);
ALTER TABLE idempotency_keys ADD CONSTRAINT idempotency_keys_fingerprint CHECK (length(fingerprint) = 32);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

-- --- deliveries ------------------------------------------------------------------------------------------------------

-- Those that have not ended, and no others: what claims walk over stays small, and is vacuumed in moments.
CREATE TABLE deliveries (
  id bigint NOT NULL,
  event_key bigint NOT NULL,
  due_at bigint NOT NULL,               -- when the engine must look again: schedule, retry wait and lease in one
  claimed_at bigint,
  subscription_id integer NOT NULL,
  company_id integer NOT NULL,
  attempt integer NOT NULL DEFAULT 0,   -- raised at each claim, never lowered: the number in the log, and the fence
  failures integer NOT NULL DEFAULT 0,  -- settled failed attempts of this round: they alone drive the schedule
  losses integer NOT NULL DEFAULT 0,    -- attempts lost in a row
  data_bytes integer NOT NULL,          -- of the event's data, which may lie in another bucket: what a claim carries
  is_erased boolean NOT NULL DEFAULT false,  -- its event's data went during an attempt
  state text NOT NULL,
  payload_version text NOT NULL,        -- frozen at creation, as the two below
  type_name text NOT NULL,
  source text,
  event_bucket smallint NOT NULL,
  bucket smallint NOT NULL
) WITH (
  -- Each row is written, claimed and deleted within moments: what it leaves behind goes by number, not by share.
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000
);
-- distribute: bucket
ALTER TABLE deliveries ADD CONSTRAINT deliveries_pkey PRIMARY KEY (id, bucket);
ALTER TABLE deliveries ADD CONSTRAINT deliveries_once UNIQUE (event_key, subscription_id, bucket);
ALTER TABLE deliveries ADD CONSTRAINT deliveries_lane
  FOREIGN KEY (subscription_id, bucket) REFERENCES lanes (subscription_id, bucket);
ALTER TABLE deliveries ADD CONSTRAINT deliveries_state CHECK (state IN ('pending', 'sending'));
ALTER TABLE deliveries ADD CONSTRAINT deliveries_claimed_while_sending
  CHECK ((claimed_at IS NOT NULL) = (state = 'sending'));
-- One subscription may hold nearly all rows. The planner would take that for the rule: it read the table in the order of
-- ids until it met the lowest one of another subscription, and sought ids in the index of subscriptions.
ALTER TABLE deliveries ALTER COLUMN subscription_id SET (n_distinct = -1);
CREATE INDEX deliveries_due ON deliveries (subscription_id, due_at, id) WHERE state = 'pending';
-- The two say the same in different words, so that a statement gets the one that it means: while nothing is in flight
-- both are empty, and to the planner one is as good as the other.
CREATE INDEX deliveries_leased ON deliveries (due_at) WHERE claimed_at IS NOT NULL;
CREATE INDEX deliveries_in_flight ON deliveries (subscription_id) WHERE state = 'sending';
CREATE INDEX deliveries_open ON deliveries (subscription_id, id);

-- Where a delivery goes in the transaction that ends it. A redelivery moves it back.
CREATE TABLE ended_deliveries (
  id bigint NOT NULL,
  event_key bigint NOT NULL,
  settled_at bigint NOT NULL,
  subscription_id integer NOT NULL,
  company_id integer NOT NULL,
  attempt integer NOT NULL,
  failures integer NOT NULL,
  data_bytes integer NOT NULL,
  state text NOT NULL,
  payload_version text NOT NULL,
  type_name text NOT NULL,
  source text,
  reason text,                          -- lifecycle.Reason, of dead and cancelled
  event_bucket smallint NOT NULL,
  bucket smallint NOT NULL
) PARTITION BY RANGE (id);
-- distribute: bucket
CREATE TABLE ended_deliveries_rest PARTITION OF ended_deliveries DEFAULT;
ALTER TABLE ended_deliveries ADD CONSTRAINT ended_deliveries_pkey PRIMARY KEY (id, bucket);
ALTER TABLE ended_deliveries ADD CONSTRAINT ended_deliveries_state CHECK (state IN ('succeeded', 'dead', 'cancelled'));
CREATE INDEX ended_deliveries_of_event ON ended_deliveries (event_key, subscription_id);
CREATE INDEX ended_deliveries_dead ON ended_deliveries (subscription_id, event_key) WHERE state = 'dead';
-- Rows lie as they ended: this finds the few that ended late without a look at each.
CREATE INDEX ended_deliveries_settled ON ended_deliveries USING brin (settled_at) WITH (autosummarize = on);

-- Once for each delivery and number: the fence sees to that, for no key can, being of another day than the delivery's.
CREATE TABLE attempts (
  id bigint NOT NULL,
  delivery_id bigint NOT NULL,
  created_at bigint NOT NULL,
  next_attempt_at bigint,
  subscription_id integer NOT NULL,
  company_id integer NOT NULL,
  number integer NOT NULL,
  http_status integer,
  duration_ms integer NOT NULL,
  dns_ms integer,
  connect_ms integer,
  tls_ms integer,
  wait_ms integer,
  dead_lettered boolean NOT NULL,
  error text,
  detail text,
  request_head bytea,
  response_head bytea,
  response_body bytea,
  bucket smallint NOT NULL
) PARTITION BY RANGE (id);
-- distribute: bucket
CREATE TABLE attempts_rest PARTITION OF attempts DEFAULT;
ALTER TABLE attempts ADD CONSTRAINT attempts_pkey PRIMARY KEY (id, bucket);
ALTER TABLE attempts ADD CONSTRAINT attempts_number CHECK (number >= 1);
ALTER TABLE attempts ADD CONSTRAINT attempts_error
  CHECK (error IN ('timeout', 'dns', 'connect', 'tls', 'blocked', 'protocol', 'oauth', 'status', 'lost'));
CREATE INDEX attempts_of_delivery ON attempts (delivery_id, number);
-- With all that a count asks for but the type: a total, and the way to a deep page, touch no row.
CREATE INDEX attempts_log ON attempts (subscription_id, id) INCLUDE (company_id, bucket, http_status, created_at);

-- The log counted by cells of time, for charts: see tallies.py. Whatever is wrong here is wrong on a chart and nowhere else.
CREATE TABLE tallies (
  level text NOT NULL,
  subject_id integer NOT NULL,          -- of the company or the subscription; 0: the installation
  company_id integer NOT NULL,          -- whose they are; 0: the installation's
  span_ms bigint NOT NULL,              -- of the cell
  begins_at bigint NOT NULL,
  count bigint NOT NULL,
  class integer NOT NULL,               -- of a span, or the status; 0: of neither
  measure text COLLATE "C" NOT NULL,    -- tallies.Measure, or why attempts failed
  bucket smallint NOT NULL              -- of the company; of the installation's: the first of the group that counted
) WITH (fillfactor = 70);               -- counts of the cells of now are raised again and again: room to stay on the page
-- distribute: bucket
ALTER TABLE tallies ADD CONSTRAINT tallies_pkey
  PRIMARY KEY (level, subject_id, span_ms, begins_at, measure, class, bucket);
ALTER TABLE tallies ADD CONSTRAINT tallies_level CHECK (level IN ('installation', 'company', 'subscription'));
CREATE INDEX tallies_age ON tallies (level, span_ms, begins_at);

-- How far the log is counted, for each group of buckets: its row is that of the group's first. Whoever holds it counts.
CREATE TABLE tallied (
  attempt_id bigint NOT NULL,
  event_key bigint NOT NULL,
  bucket smallint NOT NULL
);
-- distribute: bucket
ALTER TABLE tallied ADD CONSTRAINT tallied_pkey PRIMARY KEY (bucket);

-- What is to be told as an operational event, written with the change that it tells of; goes once it is published.
CREATE TABLE notices (
  id bigint NOT NULL,
  delivery_id bigint NOT NULL,
  since bigint NOT NULL,
  created_at bigint NOT NULL,
  subscription_id integer NOT NULL,
  company_id integer NOT NULL,
  event_type text NOT NULL,
  event_id text NOT NULL,
  reason text NOT NULL,
  bucket smallint NOT NULL
);
-- distribute: bucket
ALTER TABLE notices ADD CONSTRAINT notices_pkey PRIMARY KEY (id, bucket);

-- Who changed what, written with the change.
CREATE TABLE audit (
  id bigint NOT NULL,
  at bigint NOT NULL,
  company_id integer,                   -- whose the target is; null: the installation's
  actor text NOT NULL,                  -- as a person reads it
  action text NOT NULL,                 -- model.Action
  target text NOT NULL,                 -- the id of what was changed
  bucket smallint NOT NULL              -- of the company, or of a hash of the target
);
-- distribute: bucket
ALTER TABLE audit ADD CONSTRAINT audit_pkey PRIMARY KEY (id, bucket);

-- --- replays ---------------------------------------------------------------------------------------------------------

-- One subscription's part of a replay. Of one over several subscriptions a row more stands for the whole: of the built-in
-- company and subscription 0, with nothing to do.
CREATE TABLE replays (
  id bigint NOT NULL,
  from_at bigint NOT NULL,
  to_at bigint NOT NULL,
  cursor bigint NOT NULL,               -- key of the last event looked at
  last_key bigint NOT NULL,             -- of the last event that counts
  total bigint NOT NULL,
  done bigint NOT NULL DEFAULT 0,
  created_at bigint NOT NULL,
  subscription_id integer NOT NULL,
  company_id integer NOT NULL,
  state text NOT NULL,
  status text,                          -- null: both, and missing ones
  type_names text,                      -- JSON array of names as the subscription sees them; null: all
  source text,                          -- of deliveries that are made
  bucket smallint NOT NULL
);
-- distribute: bucket
ALTER TABLE replays ADD CONSTRAINT replays_pkey PRIMARY KEY (id, subscription_id, bucket);
ALTER TABLE replays ADD CONSTRAINT replays_state CHECK (state IN ('running', 'done', 'cancelled'));
ALTER TABLE replays ADD CONSTRAINT replays_status CHECK (status IN ('succeeded', 'dead'));
CREATE INDEX replays_running ON replays (id, subscription_id) WHERE state = 'running';
CREATE INDEX replays_of_subscription ON replays (subscription_id) WHERE state = 'running';

-- What replays have opened and was not attempted yet, with what it was before.
CREATE TABLE replayed (
  delivery_id bigint NOT NULL,
  replay_id bigint NOT NULL,
  settled_at bigint,
  subscription_id integer NOT NULL,
  failures integer NOT NULL,
  losses integer NOT NULL,
  state text,                           -- null: made by the replay
  reason text,
  bucket smallint NOT NULL
);
-- distribute: bucket
ALTER TABLE replayed ADD CONSTRAINT replayed_pkey PRIMARY KEY (subscription_id, delivery_id, bucket);
ALTER TABLE replayed ADD CONSTRAINT replayed_state CHECK (state IN ('succeeded', 'dead'));

-- --- what every installation begins with -----------------------------------------------------------------------------

INSERT INTO installation (only_row, change_counter, catalogue_revision, probed_at) VALUES (true, 1, 1, 0);
INSERT INTO tallied (attempt_id, event_key, bucket) SELECT 0, 0, bucket FROM generate_series(0, 255) AS bucket;
-- The company that operational events are also for; no event can name it.
INSERT INTO companies (id, name, created_at, bucket) VALUES (1, 'operator', 0, 1);

INSERT INTO event_types (name, v1_name, v2_name, kind) VALUES
  ('collaboration-request.created', 'collaboration-request.created', 'org.tsanet.connect.collaboration-request.created', 'ordinary'),
  ('note.created', 'note.created', 'org.tsanet.connect.collaboration-request.note.created', 'ordinary'),
  ('collaboration-request.closed', NULL, 'org.tsanet.connect.collaboration-request.closed', 'ordinary'),
  ('collaboration-request.response.created', NULL, 'org.tsanet.connect.collaboration-request.response.created', 'ordinary'),
  ('collaboration-request.response.updated', NULL, 'org.tsanet.connect.collaboration-request.response.updated', 'ordinary'),
  ('webhook.ping', 'webhook.ping', 'org.tsanet.connect.webhook.ping', 'ping'),
  ('subscription.failing', 'subscription.failing', 'org.tsanet.connect.subscription.failing', 'operational'),
  ('subscription.deactivated', 'subscription.deactivated', 'org.tsanet.connect.subscription.deactivated', 'operational'),
  ('subscription.recovered', 'subscription.recovered', 'org.tsanet.connect.subscription.recovered', 'operational'),
  ('delivery.dead', 'delivery.dead', 'org.tsanet.connect.delivery.dead', 'operational');
INSERT INTO event_type_revisions (name, revision, v1_name, v2_name, kind)
  SELECT name, 1, v1_name, v2_name, kind FROM event_types;

-- --- who sees what ---------------------------------------------------------------------------------------------------

-- The second lock, behind the statements' own conditions and for the tables' owner too: a transaction sees the rows of
-- the company that it has named in `hookline.company`, or all with `hookline.all`, and without either none. The settings
-- are read once a statement. Partitions are reached through their tables alone: by themselves they show nothing.

ALTER TABLE companies ENABLE ROW LEVEL SECURITY;
ALTER TABLE companies FORCE ROW LEVEL SECURITY;
CREATE POLICY companies_of_reader ON companies USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR id = (SELECT nullif(current_setting('hookline.company', true), '')::bigint));

ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY accounts_of_reader ON accounts USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR company_id = (SELECT nullif(current_setting('hookline.company', true), '')::bigint));

ALTER TABLE notices ENABLE ROW LEVEL SECURITY;
ALTER TABLE notices FORCE ROW LEVEL SECURITY;
CREATE POLICY notices_of_reader ON notices USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR company_id = (SELECT nullif(current_setting('hookline.company', true), '')::bigint));

-- The operator's alone.
ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_of_reader ON audit USING ((SELECT current_setting('hookline.all', true)) = 'on');

ALTER TABLE tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY tokens_of_reader ON tokens USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR company_id = (SELECT nullif(current_setting('hookline.company', true), '')::bigint));

ALTER TABLE links ENABLE ROW LEVEL SECURITY;
ALTER TABLE links FORCE ROW LEVEL SECURITY;
CREATE POLICY links_of_reader ON links USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR company_id = (SELECT nullif(current_setting('hookline.company', true), '')::bigint));

ALTER TABLE subscriptions ENABLE ROW LEVEL SECURITY;
ALTER TABLE subscriptions FORCE ROW LEVEL SECURITY;
CREATE POLICY subscriptions_of_reader ON subscriptions USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR company_id = (SELECT nullif(current_setting('hookline.company', true), '')::bigint));

ALTER TABLE subscription_revisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE subscription_revisions FORCE ROW LEVEL SECURITY;
CREATE POLICY subscription_revisions_of_reader ON subscription_revisions USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR company_id = (SELECT nullif(current_setting('hookline.company', true), '')::bigint));

ALTER TABLE lanes ENABLE ROW LEVEL SECURITY;
ALTER TABLE lanes FORCE ROW LEVEL SECURITY;
CREATE POLICY lanes_of_reader ON lanes USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR company_id = (SELECT nullif(current_setting('hookline.company', true), '')::bigint));

ALTER TABLE events ENABLE ROW LEVEL SECURITY;
ALTER TABLE events FORCE ROW LEVEL SECURITY;
CREATE POLICY events_of_reader ON events USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR (SELECT nullif(current_setting('hookline.company', true), '')::bigint) = ANY (company_ids));

ALTER TABLE recipients ENABLE ROW LEVEL SECURITY;
ALTER TABLE recipients FORCE ROW LEVEL SECURITY;
CREATE POLICY recipients_of_reader ON recipients USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR company_id = (SELECT nullif(current_setting('hookline.company', true), '')::bigint));

ALTER TABLE deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE deliveries FORCE ROW LEVEL SECURITY;
CREATE POLICY deliveries_of_reader ON deliveries USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR company_id = (SELECT nullif(current_setting('hookline.company', true), '')::bigint));

ALTER TABLE ended_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE ended_deliveries FORCE ROW LEVEL SECURITY;
CREATE POLICY ended_deliveries_of_reader ON ended_deliveries USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR company_id = (SELECT nullif(current_setting('hookline.company', true), '')::bigint));

ALTER TABLE attempts ENABLE ROW LEVEL SECURITY;
ALTER TABLE attempts FORCE ROW LEVEL SECURITY;
CREATE POLICY attempts_of_reader ON attempts USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR company_id = (SELECT nullif(current_setting('hookline.company', true), '')::bigint));

ALTER TABLE tallies ENABLE ROW LEVEL SECURITY;
ALTER TABLE tallies FORCE ROW LEVEL SECURITY;
CREATE POLICY tallies_of_reader ON tallies USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR company_id = (SELECT nullif(current_setting('hookline.company', true), '')::bigint));

ALTER TABLE replays ENABLE ROW LEVEL SECURITY;
ALTER TABLE replays FORCE ROW LEVEL SECURITY;
CREATE POLICY replays_of_reader ON replays USING (
  (SELECT current_setting('hookline.all', true)) = 'on'
  OR company_id = (SELECT nullif(current_setting('hookline.company', true), '')::bigint));

-- Of no reader: nobody but steps of replays asks for it.
ALTER TABLE replayed ENABLE ROW LEVEL SECURITY;
ALTER TABLE replayed FORCE ROW LEVEL SECURITY;
CREATE POLICY replayed_of_nobody ON replayed USING ((SELECT current_setting('hookline.all', true)) = 'on');

ALTER TABLE events_rest ENABLE ROW LEVEL SECURITY;
ALTER TABLE events_rest FORCE ROW LEVEL SECURITY;

ALTER TABLE recipients_rest ENABLE ROW LEVEL SECURITY;
ALTER TABLE recipients_rest FORCE ROW LEVEL SECURITY;

ALTER TABLE ended_deliveries_rest ENABLE ROW LEVEL SECURITY;
ALTER TABLE ended_deliveries_rest FORCE ROW LEVEL SECURITY;

ALTER TABLE attempts_rest ENABLE ROW LEVEL SECURITY;
ALTER TABLE attempts_rest FORCE ROW LEVEL SECURITY;
