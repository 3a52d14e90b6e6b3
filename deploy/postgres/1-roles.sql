-- Users of web, worker and auditor, who may nothing yet: `dauso grants` says what each may of our tables. Once, in Dauso's own
-- database, by who may make users; `dauso` is the user of the signer, who owns the tables.
CREATE USER dauso_web;
CREATE USER dauso_worker;
CREATE USER dauso_auditor;

-- Where unfinished work stands. The signer makes its tables; the worker keeps its own work in them, in later releases too.
CREATE SCHEMA dbos AUTHORIZATION dauso;
GRANT USAGE ON SCHEMA dbos TO dauso_worker;
ALTER DEFAULT PRIVILEGES FOR ROLE dauso IN SCHEMA dbos GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO dauso_worker;
ALTER DEFAULT PRIVILEGES FOR ROLE dauso IN SCHEMA dbos GRANT USAGE ON SEQUENCES TO dauso_worker;
