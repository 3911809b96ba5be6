-- The tables of a store in which `python -m volsvc.models.registry volsvc` of 1.0.0 has registered
-- the packaged models, with MLflow 3.17.2. The tables of runs and traces are left out.
CREATE TABLE alembic_version (
  version_num VARCHAR(32) NOT NULL,
  CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version VALUES ('dc11669786a5');
CREATE TABLE "registered_models" (
  name VARCHAR(256) NOT NULL,
  creation_time BIGINT,
  last_updated_time BIGINT,
  description VARCHAR(5000),
  workspace VARCHAR(63) DEFAULT 'default' NOT NULL,
  CONSTRAINT registered_model_pk PRIMARY KEY (workspace, name)
);
INSERT INTO registered_models VALUES ('volsvc', 1795954439638, 1795954439793, NULL, 'default');
CREATE TABLE "registered_model_aliases" (
  alias VARCHAR(256) NOT NULL,
  version INTEGER NOT NULL,
  name VARCHAR(256) NOT NULL,
  workspace VARCHAR(63) DEFAULT 'default' NOT NULL,
  CONSTRAINT registered_model_alias_pk PRIMARY KEY (workspace, name, alias),
  CONSTRAINT fk_registered_model_aliases_registered_models FOREIGN KEY(workspace, name) REFERENCES registered_models (workspace, name) ON DELETE CASCADE ON UPDATE CASCADE
);
INSERT INTO registered_model_aliases VALUES ('baseline', 1, 'volsvc', 'default');
INSERT INTO registered_model_aliases VALUES ('ml', 2, 'volsvc', 'default');
CREATE TABLE "model_versions" (
  name VARCHAR(256) NOT NULL,
  version INTEGER NOT NULL,
  creation_time BIGINT,
  last_updated_time BIGINT,
  description VARCHAR(5000),
  user_id VARCHAR(256),
  current_stage VARCHAR(20),
  source VARCHAR(500),
  run_id VARCHAR(32),
  status VARCHAR(20),
  status_message VARCHAR(500),
  run_link VARCHAR(500),
  storage_location VARCHAR(500),
  workspace VARCHAR(63) DEFAULT 'default' NOT NULL,
  CONSTRAINT model_version_pk PRIMARY KEY (workspace, name, version),
  CONSTRAINT fk_model_versions_registered_models FOREIGN KEY(workspace, name) REFERENCES registered_models (workspace, name) ON UPDATE CASCADE
);
INSERT INTO model_versions VALUES ('volsvc', 1, 1795954439646, 1795954439646, NULL, NULL, 'None', 'models:/m-7112587e66a64390a6d346218c826c65', 'f73584ef0ab4421eb5a348e5724240c5', 'READY', NULL, NULL, 'file:///registry/baseline', 'default');
INSERT INTO model_versions VALUES ('volsvc', 2, 1795954439793, 1795954439793, NULL, NULL, 'None', 'models:/m-e4f4702b507e410eb3d954635c25fd25', 'aaaafd198c254ca8a98c7d7f0155b226', 'READY', NULL, NULL, 'file:///registry/ml', 'default');
CREATE TABLE "model_version_tags" (
  "key" VARCHAR(250) NOT NULL,
  value TEXT,
  name VARCHAR(256) NOT NULL,
  version INTEGER NOT NULL,
  workspace VARCHAR(63) DEFAULT 'default' NOT NULL,
  CONSTRAINT model_version_tag_pk PRIMARY KEY (workspace, "key", name, version),
  CONSTRAINT fk_model_version_tags_model_versions FOREIGN KEY(workspace, name, version) REFERENCES model_versions (workspace, name, version) ON UPDATE CASCADE
);
INSERT INTO model_version_tags VALUES ('volsvc.digest', '32d8cac6ce9a652b28dd4b46d1ef37536bee0734d3815c20ba33d9205708807a', 'volsvc', 1, 'default');
INSERT INTO model_version_tags VALUES ('volsvc.variant', 'baseline', 'volsvc', 1, 'default');
INSERT INTO model_version_tags VALUES ('volsvc.digest', '9dcb0978813b375060bd69983554f51137c3a38800c051f2be398df935b31b26', 'volsvc', 2, 'default');
INSERT INTO model_version_tags VALUES ('volsvc.variant', 'ml', 'volsvc', 2, 'default');
