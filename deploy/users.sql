-- The log's database, its owner, and a user for each service in one of the roles of migrations/roles.sql.
--
-- Run it once as a superuser, with psql 14 or later and the five passwords in the environment; the image of Postgres does
-- so when it creates its cluster. Then `turnlog init --roles turnlog`, as the owner, creates the schema and grants.
\set ON_ERROR_STOP on
\getenv owner_password OWNER_PASSWORD
\getenv agent_password AGENT_PASSWORD
\getenv delivery_password DELIVERY_PASSWORD
\getenv projector_password PROJECTOR_PASSWORD
\getenv reader_password READER_PASSWORD

CREATE ROLE turnlog_agent;
CREATE ROLE turnlog_delivery;
CREATE ROLE turnlog_projector;
CREATE ROLE turnlog_reader;

CREATE USER turnlog_owner PASSWORD :'owner_password';
CREATE USER bot_1 PASSWORD :'agent_password' IN ROLE turnlog_agent;
CREATE USER delivery_1 PASSWORD :'delivery_password' IN ROLE turnlog_delivery;
CREATE USER projector_1 PASSWORD :'projector_password' IN ROLE turnlog_projector;
CREATE USER viewer_1 PASSWORD :'reader_password' IN ROLE turnlog_reader;

CREATE DATABASE calls OWNER turnlog_owner ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE calls FROM PUBLIC;
GRANT CONNECT ON DATABASE calls TO turnlog_agent, turnlog_delivery, turnlog_projector, turnlog_reader;
