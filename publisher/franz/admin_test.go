package franz

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/outboxrelay/relay/publisher/contract"
)

// No broker says its version: it is told by what it offers, and in the middle of an upgrade there are two.
func TestCluster_TellsTheBrokersVersions(t *testing.T) {
	versions := func(offers ...*kversion.Versions) string {
		fake, err := kfake.NewCluster(kfake.NumBrokers(len(offers)))
		if err != nil {
			t.Fatal(err)
		}
		defer fake.Close()
		fake.ControlKey(int16(kmsg.ApiVersions), func(request kmsg.Request) (kmsg.Response, error, bool) {
			fake.KeepControl()
			response := request.ResponseKind().(*kmsg.ApiVersionsResponse)
			offers[fake.CurrentNode()].EachMaxKeyVersion(func(k, v int16) {
				key := kmsg.NewApiVersionsResponseApiKey()
				key.ApiKey, key.MaxVersion = k, v
				response.ApiKeys = append(response.ApiKeys, key)
			})
			return response, nil, true
		})
		admin, err := OpenAdmin(contract.Config(t, fake.ListenAddrs()))
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close()
		about, err := admin.Cluster(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return about.Version
	}
	if got := versions(kversion.V3_9_0()); got != "3.9" {
		t.Errorf("one broker: %q", got)
	}
	if got := versions(kversion.V3_9_0(), kversion.V3_8_0()); got != "3.9, 3.8" {
		t.Errorf("an upgrade: %q", got)
	}
}
