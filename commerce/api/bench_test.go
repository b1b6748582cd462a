package api

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// BenchmarkPostOrder posts orders over 64 connections that are kept, with the
// clients in this process.
func BenchmarkPostOrder(b *testing.B) {
	for _, kind := range []string{"id", "assigned", "key"} {
		b.Run(kind, func(b *testing.B) {
			s := newShop(b)
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			var n atomic.Int64
			b.SetParallelism(64 / 2) // times GOMAXPROCS
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := n.Add(1)
					body := order(fmt.Sprint(i), "")
					if kind == "assigned" {
						body = order("", "")
					}
					req, err := http.NewRequestWithContext(b.Context(), "POST", s.url+"/commandes", strings.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					req.Header.Set("Content-Type", "application/json")
					if kind == "key" {
						req.Header.Set("Idempotency-Key", fmt.Sprint("key-", i))
					}
					resp, err := client.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					if resp.StatusCode != http.StatusCreated {
						b.Errorf("status %d", resp.StatusCode)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "orders/s")
		})
	}
}
