package publisher

import "context"

// Admin asks about a cluster and creates topics. Safe from many goroutines.
type Admin interface {
	// Cluster asks the cluster for its id, brokers and controller.
	Cluster(ctx context.Context) (Cluster, error)

	// Describe asks for topics, in the order of names. What is wrong with one topic stands in its Err.
	Describe(ctx context.Context, names []string) ([]TopicDescription, error)

	// CreateTopics creates those that are missing and leaves the others as they are. It returns when the brokers know
	// the new ones, which takes a moment after the controller has said yes. created are the names that were not there.
	// The error names each topic that could not be created.
	CreateTopics(ctx context.Context, specs []TopicSpec) (created []string, err error)

	// MayCreate asks whether a topic could be created, and creates nothing. Class of the error is forbidden where the
	// right is missing.
	MayCreate(ctx context.Context, spec TopicSpec) error

	Close()
}

// Cluster is what a cluster says of itself.
type Cluster struct {
	ID         string
	Brokers    int
	Controller int32 // the broker that answers for it; -1 where none is known
	// Version is Kafka's as the brokers' offers let guess it, "3.9" or "at least 4.1", several while brokers differ; ""
	// where the client does not see the offers, as librdkafka, or no broker told.
	Version string
}

// TopicDescription is one topic as `relay check` looks at it. Numbers are 0 and texts empty where the cluster does
// not let us read the topic's configuration.
type TopicDescription struct {
	Name                  string
	Partitions            int32
	ReplicationFactor     int // of the partition with the fewest replicas
	InSyncReplicas        int // of the partition with the fewest in sync
	MinInSyncReplicas     int
	UncleanLeaderElection bool
	MaxMessageBytes       int
	CleanupPolicy         string
	ConfigKnown           bool
	Rights                Rights
	Err                   error // topic trouble: missing, forbidden, …
}

// TopicSpec is a topic to create. Partitions and ReplicationFactor of 0 take the cluster's default.
type TopicSpec struct {
	Name              string
	Partitions        int
	ReplicationFactor int
	Config            map[string]string
}

// Rights are the operations on a topic that we are allowed; 0 when the cluster did not say.
type Rights uint8

// Bits of Rights.
const (
	RightsDisclosed Rights = 1 << iota // the cluster said what we may
	MayRead
	MayWrite
	MayDescribe
)

// Operations on a topic, by Kafka's names.
const (
	OperationRead     = "Read"
	OperationWrite    = "Write"
	OperationDescribe = "Describe"
)

// Lacks gives those of the operations that we may not do with the topic. Where the cluster does not say what we may
// (before Kafka 2.3, and others that speak its protocol), nothing is missing; where it does not let us see the topic,
// everything is.
func (t TopicDescription) Lacks(operations ...string) (missing []string) {
	unseen := t.Rights == 0 && Class(t.Err) == ClassForbidden
	for _, wanted := range operations {
		bit := map[string]Rights{OperationRead: MayRead, OperationWrite: MayWrite, OperationDescribe: MayDescribe}[wanted]
		if unseen || t.Rights != 0 && t.Rights&bit == 0 {
			missing = append(missing, wanted)
		}
	}
	return missing
}
