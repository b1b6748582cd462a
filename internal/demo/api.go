package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/comptoir/comptoir/commerce/event"
)

// maxAnswer bounds what is read of the order API's answer: it names one order.
const maxAnswer = 64 << 10

// place sends an order to the order API, which must accept it as new.
func place(ctx context.Context, api string, o order) error {
	ctx, cancel := context.WithTimeout(ctx, defaultLimit)
	defer cancel()
	url := api + "/commandes"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(o.value))
	if err != nil {
		return fmt.Errorf("send order %s: %w", o.id, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", string(o.id))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("send order %s: %w", o.id, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("send order %s to %s: %w", o.id, url, err)
	}
	var answer struct {
		ID     event.ID `json:"commandeId"`
		Detail string   `json:"detail"`
	}
	err = json.Unmarshal(body, &answer)
	switch {
	case res.StatusCode != http.StatusCreated:
		return fmt.Errorf("send order %s to %s: %s %s", o.id, url, res.Status, answer.Detail)
	case err != nil || answer.ID != o.id:
		return fmt.Errorf("send order %s to %s: the answer does not name it: %.200s", o.id, url, body)
	}
	return nil
}
