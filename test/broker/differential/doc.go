// Package differential asks a real Apache Kafka and our broker the same, good and
// bad, in the versions that both speak, and compares the answers field by field.
// What differs on purpose stands in a table with its reason (differences_test.go);
// any other difference fails. It must not say what is right: Apache Kafka does.
//
// A new case is a row of cases in the file of its subject: the request whose
// versions it goes through, a name, and what to send:
//
//	{kmsg.DeleteGroups, "a group that nobody knows", func(s *session) {
//		s.send(&kmsg.DeleteGroupsRequest{Groups: []string{s.name("nobody")}})
//	}},
//
// Ids, times and addresses are replaced by words, and lists without order sorted
// (normal_test.go). s.name makes names that no other case and no other run has.
//
//	COMPTOIR_TEST_KAFKA           address of the real one; without it the test is left out (test/servers/with sets it)
//	COMPTOIR_DIFFERENTIAL_ENGINE  comptoir (default) or kfake
//	COMPTOIR_DIFFERENTIAL_ALL     not empty: each case in each version, not in two or three of them
package differential
