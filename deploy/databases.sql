-- Read once, when PostgreSQL's volume is empty.
CREATE DATABASE prefect;
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_auth;
-- Prefect's searches need it; creating it takes more rights than a plain user has.
\connect prefect
CREATE EXTENSION IF NOT EXISTS pg_trgm;
