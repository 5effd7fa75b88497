// Benthos as its own main function would start it, with the components of its open module: the engine that Redpanda Connect
// is built on. Its Kafka input, Elasticsearch output and geo lookup are in Connect's module, not in this one.
package main

import (
	"context"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

func main() {
	service.RunCLI(context.Background())
}
