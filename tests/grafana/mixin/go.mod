// Only names the release whose contrib/mixin is tested, so that it is fetched and checked as modules are.
module leeward/tests/grafana/mixin

go 1.24

require go.etcd.io/etcd/v3 v3.6.8
