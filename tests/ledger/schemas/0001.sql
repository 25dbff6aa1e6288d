BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE runs (
	run_id VARCHAR(64) NOT NULL, 
	competition VARCHAR(200) NOT NULL, 
	exp INTEGER NOT NULL, 
	title TEXT NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	base INTEGER, 
	status VARCHAR(16) NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	metric VARCHAR(100) NOT NULL, 
	greater_is_better BOOLEAN NOT NULL, 
	cv_mean FLOAT, 
	cv_std FLOAT, 
	cv_folds INTEGER, 
	oof_score FLOAT, 
	fold_scores TEXT NOT NULL, 
	seed_scores TEXT NOT NULL, 
	seeds TEXT NOT NULL, 
	folds_hash VARCHAR(64) NOT NULL, 
	n_features INTEGER, 
	seconds FLOAT, 
	peak_rss_mb FLOAT, 
	created_at VARCHAR(40) NOT NULL, 
	finished_at VARCHAR(40), 
	git_commit VARCHAR(64), 
	sample FLOAT, 
	changes TEXT NOT NULL, 
	error TEXT, 
	folder TEXT NOT NULL, 
	PRIMARY KEY (run_id)
);
INSERT INTO "runs" VALUES('001-20261123T200000-abcdef01','flights',1,'baseline','model',NULL,'finished','abcdef01','auc',1,0.74,0.01,2,0.73,'[0.75, 0.73]','[[0.75, 0.73], [0.74, 0.72]]','[1, 2]','f',12,1.5,300.0,'2026-11-23T20:00:00.123456+00:00','2026-11-23T20:00:00.123456+00:00','abc+',NULL,'["+weather", "num_leaves 31 -> 63"]',NULL,'competitions/flights/runs/001');
CREATE TABLE submission_events (
	number INTEGER NOT NULL, 
	submission_id VARCHAR(64) NOT NULL, 
	at VARCHAR(40) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	public_score FLOAT, 
	private_score FLOAT, 
	detail TEXT NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "submission_events" VALUES(1,'s1','2026-11-23T22:01:48.706142+00:00','prepared',NULL,NULL,'about to send');
CREATE TABLE submissions (
	submission_id VARCHAR(64) NOT NULL, 
	competition VARCHAR(200) NOT NULL, 
	exp INTEGER NOT NULL, 
	run_id VARCHAR(64) NOT NULL, 
	platform VARCHAR(64) NOT NULL, 
	file TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	message TEXT NOT NULL, 
	cv_mean FLOAT, 
	created_at VARCHAR(40) NOT NULL, 
	sent_at VARCHAR(40), 
	ref VARCHAR(200), 
	status VARCHAR(16) NOT NULL, 
	public_score FLOAT, 
	private_score FLOAT, 
	error TEXT, 
	PRIMARY KEY (submission_id)
);
INSERT INTO "submissions" VALUES('s1','flights',1,'001-20261123T200000-abcdef01','rehearsal','submissions/flights/001.csv','0000000000000000000000000000000000000000000000000000000000000000','001 baseline',0.74,'2026-11-23T20:00:00.123456+00:00',NULL,NULL,'prepared',NULL,NULL,NULL);
CREATE INDEX ix_runs_competition ON runs (competition);
CREATE INDEX ix_submissions_competition ON submissions (competition);
CREATE INDEX ix_submission_events_submission_id ON submission_events (submission_id);
COMMIT;
