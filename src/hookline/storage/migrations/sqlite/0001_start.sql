-- The first schema. Instants are integer milliseconds since the Unix epoch, UTC. A due time runs on the schedule clock,
-- every other instant on the wall clock.
-- Ids of events (key), deliveries and attempts rise and carry the day they were made: (days since 2024-01-01) * 2^39 + n.

CREATE TABLE installation (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  change_counter INTEGER NOT NULL,      -- rises with each change of tokens, companies, catalogue
  catalogue_revision INTEGER NOT NULL,
  probed_at INTEGER NOT NULL            -- written by the readiness probe
) STRICT;

CREATE TABLE companies (
  id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 2147483647),
  name TEXT NOT NULL CHECK (name <> ''),
  revision INTEGER NOT NULL DEFAULT 1,  -- rises with each change of its subscriptions
  retention_days INTEGER CHECK (retention_days > 0),
  created_at INTEGER NOT NULL,
  deleted_at INTEGER
) STRICT;
CREATE INDEX companies_retention ON companies (retention_days) WHERE retention_days IS NOT NULL;

-- Of people and programs of a company; each may hold many short-lived tokens.
CREATE TABLE accounts (
  id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 2147483647),
  company_id INTEGER NOT NULL REFERENCES companies (id),
  username TEXT NOT NULL UNIQUE CHECK (username <> ''),
  password TEXT,                        -- scrypt, as passwords.py writes it; null: no login by password
  secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX accounts_of_company ON accounts (company_id, id);

CREATE TABLE tokens (
  id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 2147483647),
  company_id INTEGER REFERENCES companies (id),
  name TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('operator', 'publisher', 'member', 'viewer')),
  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  account_id INTEGER REFERENCES accounts (id),
  is_pass INTEGER NOT NULL CHECK (is_pass IN (0, 1)),  -- made by signing in: for a session, in no list
  CHECK ((company_id IS NULL) = (role IN ('operator', 'publisher'))),
  CHECK (account_id IS NULL OR (role = 'member' AND is_pass = 1)),
  CHECK (is_pass = 0 OR expires_at IS NOT NULL)
) STRICT;
CREATE INDEX tokens_of_company ON tokens (company_id, is_pass, id);
CREATE INDEX tokens_of_account ON tokens (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX passes_expiry ON tokens (expires_at) WHERE is_pass = 1;

-- Each signs somebody in once, and is gone then. The hash is that of the code in the link.
CREATE TABLE links (
  hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
  company_id INTEGER REFERENCES companies (id),
  role TEXT NOT NULL CHECK (role IN ('operator', 'member', 'viewer')),
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  session_ms INTEGER NOT NULL CHECK (session_ms > 0),
  CHECK ((company_id IS NULL) = (role = 'operator'))
) STRICT, WITHOUT ROWID;
CREATE INDEX links_of_company ON links (company_id);
CREATE INDEX links_expiry ON links (expires_at);

CREATE TABLE event_types (
  name TEXT PRIMARY KEY,
  v1_name TEXT UNIQUE,
  v2_name TEXT UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('ordinary', 'ping', 'operational')),
  description TEXT,
  schema BLOB
) STRICT, WITHOUT ROWID;

-- What the catalogue said, by revision, so that "why was this not delivered" can be answered after it changed.
CREATE TABLE event_type_revisions (
  name TEXT NOT NULL,
  revision INTEGER NOT NULL,
  v1_name TEXT,
  v2_name TEXT,
  kind TEXT,                            -- null: deleted by this revision
  PRIMARY KEY (name, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE subscriptions (
  id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 2147483647),
  company_id INTEGER NOT NULL REFERENCES companies (id),
  revision INTEGER NOT NULL,
  callback_url TEXT NOT NULL,
  event_types TEXT,                     -- JSON array of names as it sees them; null: every ordinary type
  payload_version TEXT NOT NULL CHECK (payload_version IN ('V1', 'V2', 'STANDARD', 'RAW')),
  policies TEXT NOT NULL,               -- JSON, model.Policies; nothing secret
  secrets TEXT NOT NULL,                -- JSON array of model.Secret, sealed
  auth_type TEXT NOT NULL,
  auth_sealed BLOB,
  headers_sealed BLOB,
  trust_sealed BLOB,                    -- client certificate, its key and further authorities
  active INTEGER NOT NULL CHECK (active IN (0, 1)),
  inactive_reason TEXT,
  inactive_at INTEGER,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  deleted_at INTEGER,
  CHECK ((active = 0) = (inactive_at IS NOT NULL))
) STRICT;
CREATE INDEX subscriptions_of_company ON subscriptions (company_id, id) WHERE deleted_at IS NULL;
CREATE INDEX subscriptions_deleted ON subscriptions (id) WHERE deleted_at IS NOT NULL;
CREATE INDEX subscriptions_inactive ON subscriptions (inactive_at) WHERE inactive_at IS NOT NULL AND deleted_at IS NULL;

-- What matching saw of a subscription, by its company's revision; read where an event's revision is asked for.
CREATE TABLE subscription_revisions (
  company_id INTEGER NOT NULL,
  subscription_id INTEGER NOT NULL,
  revision INTEGER NOT NULL,            -- of the company
  route TEXT,                           -- JSON, protocol.Route; null: deleted by this revision
  PRIMARY KEY (company_id, subscription_id, revision)
) STRICT, WITHOUT ROWID;

-- The queue of one subscription. Claims look here first.
CREATE TABLE lanes (
  subscription_id INTEGER PRIMARY KEY REFERENCES subscriptions (id),
  company_id INTEGER NOT NULL,
  host TEXT NOT NULL,
  is_open INTEGER NOT NULL CHECK (is_open IN (0, 1)),  -- active, granted and not deleted
  slots INTEGER NOT NULL CHECK (slots >= 1),
  slots_max INTEGER NOT NULL CHECK (slots_max BETWEEN 1 AND 100),
  hold_until INTEGER,                   -- Retry-After: nothing starts earlier
  is_ordered INTEGER NOT NULL DEFAULT 0 CHECK (is_ordered IN (0, 1)),  -- one at a time, the lowest open id first
  rate_per_second REAL CHECK (rate_per_second > 0),    -- the policy's, or what the receiver allowed, whichever is less
  next_start_us INTEGER,                -- rate: no attempt starts earlier
  failed_in_a_row INTEGER NOT NULL DEFAULT 0,
  failing_since INTEGER,                -- when the first of these ended
  probe_at INTEGER,                     -- the circuit is open: when one delivery may be tried
  validation_url TEXT,                  -- the policy `validation`: what the receiver must grant; null: nothing
  is_granted INTEGER NOT NULL DEFAULT 0 CHECK (is_granted IN (0, 1)),
  allowed_per_second REAL,              -- by the receiver, as it granted; null: no limit
  validate_at INTEGER,                  -- when it should be asked next; null: there is nothing to ask now
  validate_tries INTEGER NOT NULL DEFAULT 0,
  -- When a claim should look here: the due time of the first pending row, but not before hold_until; null with none,
  -- or with all slots taken, for then the end of an attempt sets it again. A publish lowers it, so it may be too early.
  next_due INTEGER
) STRICT;
CREATE INDEX lanes_due ON lanes (next_due) WHERE is_open = 1 AND next_due IS NOT NULL;
CREATE INDEX lanes_unvalidated ON lanes (validate_at) WHERE validate_at IS NOT NULL;

CREATE TABLE events (
  key INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  event_type TEXT NOT NULL,
  data BLOB,                            -- compact JSON; null once erased
  fingerprint BLOB CHECK (length(fingerprint) = 32),   -- null: the id is ours
  occurred_at INTEGER NOT NULL,
  accepted_at INTEGER NOT NULL,
  catalogue_revision INTEGER NOT NULL,
  deliveries INTEGER NOT NULL           -- as first answered
) STRICT;

CREATE TABLE recipients (
  company_id INTEGER NOT NULL,
  event_key INTEGER NOT NULL REFERENCES events (key),
  company_revision INTEGER NOT NULL,
  entries TEXT,                         -- JSON array of model.Entry; null where they say nothing
  PRIMARY KEY (company_id, event_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX recipients_of_event ON recipients (event_key);

CREATE TABLE deliveries (
  id INTEGER PRIMARY KEY,
  event_key INTEGER NOT NULL REFERENCES events (key),
  subscription_id INTEGER NOT NULL REFERENCES lanes (subscription_id),
  company_id INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'succeeded', 'dead', 'cancelled')),
  attempt INTEGER NOT NULL DEFAULT 0,   -- raised at each claim, never lowered: the number in the log, and the fence
  failures INTEGER NOT NULL DEFAULT 0,  -- settled failed attempts of this round: they alone drive the schedule
  losses INTEGER NOT NULL DEFAULT 0,    -- attempts lost in a row
  due_at INTEGER,                       -- when the engine must look again: schedule, retry wait and lease in one
  claimed_at INTEGER,                   -- on the schedule clock, as due_at
  is_erased INTEGER NOT NULL DEFAULT 0 CHECK (is_erased IN (0, 1)),  -- its event's data went during an attempt
  payload_version TEXT NOT NULL,        -- frozen at creation, as the two below
  type_name TEXT NOT NULL,
  source TEXT,
  reason TEXT,                          -- lifecycle.Reason, of dead and cancelled
  settled_at INTEGER,                   -- null: open
  UNIQUE (event_key, subscription_id),
  CHECK ((due_at IS NULL) = (state IN ('succeeded', 'dead', 'cancelled'))),
  CHECK ((settled_at IS NULL) = (due_at IS NOT NULL)),
  CHECK ((claimed_at IS NOT NULL) = (state = 'sending'))
) STRICT;
-- Every index ends with the rowid, which is the id: (…, id) need not be written.
CREATE INDEX deliveries_due ON deliveries (subscription_id, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_leased ON deliveries (due_at) WHERE state = 'sending';
CREATE INDEX deliveries_in_flight ON deliveries (subscription_id) WHERE state = 'sending';
-- Open rows by what no claim changes, so that a claim need not write here.
CREATE INDEX deliveries_open ON deliveries (subscription_id) WHERE settled_at IS NULL;
CREATE INDEX deliveries_dead ON deliveries (subscription_id, event_key) WHERE state = 'dead';

CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,
  delivery_id INTEGER NOT NULL REFERENCES deliveries (id),
  subscription_id INTEGER NOT NULL,
  number INTEGER NOT NULL CHECK (number >= 1),
  http_status INTEGER,
  error TEXT CHECK (error IN ('timeout', 'dns', 'connect', 'tls', 'blocked', 'protocol', 'oauth', 'status', 'lost')),
  detail TEXT,
  duration_ms INTEGER NOT NULL,
  dns_ms INTEGER,
  connect_ms INTEGER,
  tls_ms INTEGER,
  wait_ms INTEGER,
  created_at INTEGER NOT NULL,
  next_attempt_at INTEGER,
  dead_lettered INTEGER NOT NULL CHECK (dead_lettered IN (0, 1)),
  request_head BLOB,                    -- what is large stands last: who counts never reads over it
  response_head BLOB,
  response_body BLOB,
  UNIQUE (delivery_id, number)
) STRICT;
-- With all that a count asks for but the type: a total, and the way to a deep page, touch no row.
CREATE INDEX attempts_log ON attempts (subscription_id, id, http_status, created_at);

-- The log counted by cells of time, for charts: see tallies.py. Whatever is wrong here is wrong on a chart and nowhere else.
CREATE TABLE tallies (
  level TEXT NOT NULL CHECK (level IN ('installation', 'company', 'subscription')),
  subject_id INTEGER NOT NULL,          -- of the company or the subscription; 0: the installation
  span_ms INTEGER NOT NULL,             -- of the cell
  begins_at INTEGER NOT NULL,
  measure TEXT NOT NULL,                -- tallies.Measure, or why attempts failed
  class INTEGER NOT NULL,               -- of a span, or the status; 0: of neither
  count INTEGER NOT NULL,
  PRIMARY KEY (level, subject_id, span_ms, begins_at, measure, class)
) STRICT, WITHOUT ROWID;
CREATE INDEX tallies_age ON tallies (level, span_ms, begins_at);

-- How far the log is counted.
CREATE TABLE tallied (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  attempt_id INTEGER NOT NULL,
  event_key INTEGER NOT NULL
) STRICT;

-- Processes that work on this database, as each says now and then: for people alone.
CREATE TABLE nodes (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  roles TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL,
  skew_ms INTEGER NOT NULL,             -- its clock is so far ahead of the database's
  in_flight INTEGER NOT NULL,
  max_in_flight INTEGER NOT NULL,
  attempts_per_second REAL NOT NULL,
  since_claim_ms INTEGER                -- null: it claims nothing
) STRICT, WITHOUT ROWID;

-- What is to be told as an operational event, written with the change that it tells of; goes once it is published.
CREATE TABLE notices (
  id INTEGER PRIMARY KEY,
  event_type TEXT NOT NULL,
  company_id INTEGER NOT NULL,
  subscription_id INTEGER NOT NULL,
  delivery_id INTEGER,
  event_id TEXT,
  reason TEXT NOT NULL,
  since INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

-- Who changed what, written with the change.
CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,                  -- as a person reads it
  action TEXT NOT NULL,                 -- model.Action
  target TEXT NOT NULL,                 -- the id of what was changed
  company_id INTEGER                    -- whose that is; null: the installation's
) STRICT;

-- One subscription's part of a replay. Of one over several subscriptions a row more stands for the whole: of the built-in
-- company and subscription 0, with nothing to do.
CREATE TABLE replays (
  id INTEGER NOT NULL,
  subscription_id INTEGER NOT NULL,
  company_id INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('running', 'done', 'cancelled')),
  status TEXT CHECK (status IN ('succeeded', 'dead')),   -- null: both, and missing ones
  type_names TEXT,                      -- JSON array of names as the subscription sees them; null: all
  source TEXT,                          -- of deliveries that are made
  from_at INTEGER NOT NULL,
  to_at INTEGER NOT NULL,
  cursor INTEGER NOT NULL,              -- key of the last event looked at
  last_key INTEGER NOT NULL,            -- of the last event that counts
  total INTEGER NOT NULL,
  done INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (id, subscription_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX replays_running ON replays (id, subscription_id) WHERE state = 'running';
CREATE INDEX replays_of_subscription ON replays (subscription_id) WHERE state = 'running';

-- What replays have opened and was not attempted yet, with what it was before.
CREATE TABLE replayed (
  subscription_id INTEGER NOT NULL,
  delivery_id INTEGER NOT NULL,
  replay_id INTEGER NOT NULL,
  state TEXT CHECK (state IN ('succeeded', 'dead')),     -- null: made by the replay
  failures INTEGER NOT NULL,
  losses INTEGER NOT NULL,
  reason TEXT,
  settled_at INTEGER,
  PRIMARY KEY (subscription_id, delivery_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
  key TEXT PRIMARY KEY,
  fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
  answer TEXT NOT NULL,                 -- JSON array of protocol.Accepted: the first answer
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

INSERT INTO installation VALUES (1, 1, 1, 0);
INSERT INTO tallied VALUES (1, 0, 0);
-- The company that operational events are also for; no event can name it.
INSERT INTO companies (id, name, created_at) VALUES (1, 'operator', 0);

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
