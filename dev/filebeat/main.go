// Filebeat itself, as Elastic's own main function starts it, for the test that runs nginx's log files through it: Elastic
// publishes binaries and images, but a Go module is what every machine with Go can fetch.
package main

import (
	"os"

	"github.com/elastic/beats/v7/filebeat/cmd"
	inputs "github.com/elastic/beats/v7/filebeat/input/default-inputs"
)

func main() {
	if err := cmd.Filebeat(inputs.Init, cmd.FilebeatSettings()).Execute(); err != nil {
		os.Exit(1)
	}
}
