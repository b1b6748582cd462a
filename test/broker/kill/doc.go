// Package kill holds a broker to its promise under kill -9. Idempotent and
// transactional producers, a pipeline that consumes, transforms and produces,
// compaction, retention, DeleteRecords, topics that come and go, group offsets
// and fencing work all at once on a broker in a process of its own, which is
// killed at random moments and started again on its directory. After each start
// and at the end everything that was acknowledged must stand, and nothing else
// may be seen. It must not know how the broker keeps its data.
//
// `make broker-kills` runs it long. The environment says what is run:
//
//	COMPTOIR_KILLS          how many kills; without it the harness is left out
//	COMPTOIR_KILL_SEED      decides moments, sizes and choices; without it a new one, which is printed
//	COMPTOIR_KILL_SYNC      commit or interval; without it the seed chooses
//	COMPTOIR_KILL_ENGINE    comptoir (default), or kfake, which shows what the harness finds, or
//	                        kafka, which shows that it finds nothing where nothing is wrong (needs COMPTOIR_TEST_SERVERS)
//	COMPTOIR_KILL_ACTORS    names of actors, with commas; without it all
package kill
