// Package contract is the suite that every publisher.Producer passes: [Run] against any broker, [RunFaults] against
// brokers in process that misbehave on demand. Every publisher.Client passes [RunTransactions], [RunTransactionFaults],
// [RunQuestions] and [RunSecurity] besides.
//
// What is stored is read back with franz-go, a client that shares no code with librdkafka. Each test makes topics of
// its own, so that the suite can run beside others on one cluster.
package contract
