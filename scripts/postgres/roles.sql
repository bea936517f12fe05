-- The two roles that EWMS uses on a PostgreSQL of yours, and what each may do. For psql, as a
-- superuser (or as a role that may create roles and is a member of the owner), once for each
-- database, and again after the first `ewms db upgrade`:
--
--     psql -v owner=ewms_owner -v app=ewms_app -f roles.sql DATABASE
--
-- The owner has the schemas and changes them: for `ewms db upgrade` alone. The application's role
-- reads and writes rows, and can neither make, change nor drop a table: for the servers. Passwords
-- are not given here; set them with \password.
\set ON_ERROR_STOP on

SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', role)
FROM unnest(ARRAY[:'owner', :'app']) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role)
\gexec

-- Nobody else comes in, and only the owner makes schemas.
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT CONNECT, CREATE ON DATABASE :"DBNAME" TO :"owner";
GRANT CONNECT ON DATABASE :"DBNAME" TO :"app";

CREATE SCHEMA IF NOT EXISTS wms AUTHORIZATION :"owner";
CREATE SCHEMA IF NOT EXISTS mqs AUTHORIZATION :"owner";
GRANT USAGE ON SCHEMA wms, mqs TO :"app";

-- What migrations will make, and what they have made already.
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA wms, mqs
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"app";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA wms, mqs
    GRANT USAGE ON SEQUENCES TO :"app";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA wms, mqs TO :"app";
GRANT USAGE ON ALL SEQUENCES IN SCHEMA wms, mqs TO :"app";

-- Which revision a schema has is for the owner to say.
SELECT format('REVOKE INSERT, UPDATE, DELETE ON %I.alembic_version FROM %I', schema, :'app')
FROM unnest(ARRAY['wms', 'mqs']) AS schema
WHERE to_regclass(format('%I.alembic_version', schema)) IS NOT NULL
\gexec

-- Limits for sessions that cannot ask for their own, behind a pooler. What a server of ours opens
-- by itself asks for the same ones.
ALTER ROLE :"app" IN DATABASE :"DBNAME" SET statement_timeout = '65s';
ALTER ROLE :"app" IN DATABASE :"DBNAME" SET idle_in_transaction_session_timeout = '30s';
-- Behind a pooler a statement is given up by leaving; nothing else tells the server. (Linux.)
ALTER ROLE :"app" IN DATABASE :"DBNAME" SET client_connection_check_interval = '5s';
