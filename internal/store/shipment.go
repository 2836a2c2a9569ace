package store

import (
	"encoding/json"
	"fmt"
)

// Shipment is what the parked runner published in one Kafka transaction, and Kafka decides about.
type Shipment struct {
	Batch    int64   `json:"batch"` // as Candidate's
	After    int64   `json:"after"`
	Released []int64 `json:"released,omitempty"` // parked_no of rows that are deleted
	Lettered []int64 `json:"lettered,omitempty"` // parked_no of dead rows that were copied to the dead-letter topic
}

func parseShipment(text []byte) (*Shipment, error) {
	if text == nil {
		return nil, nil
	}
	var s Shipment
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("read the parked runner's candidate: %w", err)
	}
	return &s, nil
}
