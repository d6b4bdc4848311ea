// Command peers serves the resources of `make bench-fanout` with go-control-plane: with its snapshot cache, one group for
// all nodes, or with its linear caches behind a mux.
//
// It prints its address, then obeys lines of its input, and says "ok" after each:
//
//	push N   the endpoint set "pool" anew, of about N bytes
//	names N  N clusters, and an endpoint set for each
//	gc       give back what memory is free
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
)

// A store takes all resources of both types, of which the named one has changed.
type store interface {
	publish(version string, all universe, changed string) error
	cache() cache.Cache
}

type universe struct{ clusters, endpoints map[string]types.Resource }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	// As the other servers of the benchmark: one core.
	runtime.GOMAXPROCS(1)
	var store store
	switch kind := strings.Join(os.Args[1:], " "); kind {
	case "snapshot":
		store = snapshot{cache.NewSnapshotCache(true, byCluster{}, nil)}
	case "linear":
		store = newLinear()
	default:
		return fmt.Errorf("peers snapshot|linear, not %q", kind)
	}
	all := universe{map[string]types.Resource{}, map[string]types.Resource{}}
	all.endpoints["pool"] = pool(0, 1024)
	if err := store.publish("0", all, "pool"); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serving := grpc.NewServer(grpc.MaxRecvMsgSize(64<<20), grpc.MaxConcurrentStreams(100_000))
	ads := server.NewServer(context.Background(), store.cache(), nil)
	discovery.RegisterAggregatedDiscoveryServiceServer(serving, ads)
	go serving.Serve(listener)
	fmt.Println(listener.Addr())
	return obey(store, all)
}

func obey(store store, all universe) error {
	lines := bufio.NewScanner(os.Stdin)
	for round := 1; lines.Scan(); round++ {
		what, count, _ := strings.Cut(lines.Text(), " ")
		number, _ := strconv.Atoi(count)
		changed := ""
		switch what {
		case "push":
			all.endpoints["pool"] = pool(round, number)
			changed = "pool"
		case "names":
			for n := range number {
				name := fmt.Sprintf("service/default/application-%d/80", n)
				all.clusters[name] = &cluster.Cluster{
					Name:                 name,
					ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
					EdsClusterConfig: &cluster.Cluster_EdsClusterConfig{EdsConfig: &core.ConfigSource{
						ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
					}},
				}
				all.endpoints[name] = assignment(name, "127.0.0.1")
			}
		case "gc":
			debug.FreeOSMemory()
			fmt.Println("ok")
			continue
		}
		if err := store.publish(strconv.Itoa(round), all, changed); err != nil {
			return err
		}
		fmt.Println("ok")
	}
	return lines.Err()
}

func pool(round, size int) types.Resource {
	return assignment("pool", strings.Repeat(string(rune('a'+round%26)), size))
}

func assignment(name, hostname string) *endpoint.ClusterLoadAssignment {
	host := &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Hostname: hostname}}
	return &endpoint.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints:   []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{{HostIdentifier: host}}}},
	}
}

type byCluster struct{}

func (byCluster) ID(node *core.Node) string { return node.GetCluster() }

type snapshot struct{ snapshots cache.SnapshotCache }

func (s snapshot) cache() cache.Cache { return s.snapshots }

func (s snapshot) publish(version string, all universe, _ string) error {
	made, err := cache.NewSnapshot(version, map[resource.Type][]types.Resource{
		resource.ClusterType:  values(all.clusters),
		resource.EndpointType: values(all.endpoints),
	})
	if err != nil {
		return err
	}
	return s.snapshots.SetSnapshot(context.Background(), "default/web", made)
}

func values(of map[string]types.Resource) []types.Resource {
	var found []types.Resource
	for _, value := range of {
		found = append(found, value)
	}
	return found
}

type linear struct {
	clusters, endpoints *cache.LinearCache
	mux                 *cache.MuxCache
}

func newLinear() linear {
	l := linear{clusters: cache.NewLinearCache(resource.ClusterType), endpoints: cache.NewLinearCache(resource.EndpointType)}
	l.mux = &cache.MuxCache{
		Classify:      func(request *cache.Request) string { return request.GetTypeUrl() },
		ClassifyDelta: func(request *cache.DeltaRequest) string { return request.GetTypeUrl() },
		Caches:        map[string]cache.Cache{resource.ClusterType: l.clusters, resource.EndpointType: l.endpoints},
	}
	return l
}

func (l linear) cache() cache.Cache { return l.mux }

func (l linear) publish(_ string, all universe, changed string) error {
	if changed != "" {
		return l.endpoints.UpdateResource(changed, all.endpoints[changed])
	}
	l.clusters.SetResources(all.clusters)
	l.endpoints.SetResources(all.endpoints)
	return nil
}
