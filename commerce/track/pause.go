package track

import "time"

// pause is the rest before a batch while tracking is behind. The orders
// themselves come before what is told of them, and both want the same
// processors.
type pause struct {
	last    time.Time // when the last batch was applied
	until   time.Time // the end of the rest, if we are not pressed
	presses bool      // they do
	pressed time.Time // when that began
	calm    time.Time // since when they no longer do, if they do not
	batches int       // applied under pressure since it began
}

const (
	// longestYield bounds the rest after a batch while the topics still grow:
	// yieldShare times as long as the batch took.
	yieldShare   = 2
	longestYield = 2 * time.Second
	// pressedRest is the rest while the stages have more orders than they can work
	// off (Config.Yield), also before the first batch. It ends with that. After
	// every restBatches of them it is half as long: when the pressure lasts, the lag
	// must not grow for ever. So after a minute there is no rest any more, until the
	// pressure was gone for as long as the longest.
	pressedRest = 10 * time.Second
	restBatches = 3
	// pauseLook is how often is looked whether that has ended.
	pauseLook = 100 * time.Millisecond
)

// landed notes that a batch was applied; grown says that the topics have grown
// since the one before.
func (p *pause) landed(took time.Duration, grown bool) {
	p.last, p.until = time.Now(), time.Time{}
	if p.presses {
		p.batches++
	}
	if grown {
		p.until = p.last.Add(min(yieldShare*took, longestYield))
	}
}

// look notes whether the stages press, which yield, if not nil, tells.
func (p *pause) look(yield func() bool) {
	before := p.presses
	p.presses = yield != nil && yield()
	switch now := time.Now(); {
	case p.presses && !before && now.Sub(p.calm) >= pressedRest:
		p.pressed, p.batches = now, 0
	case before && !p.presses:
		p.calm = now
	}
}

// left is how long a batch is to wait yet, unless the pressure ends before; 0 or
// less: not any more.
func (p *pause) left() time.Duration {
	if !p.presses {
		return time.Until(p.until)
	}
	since := p.last
	if since.Before(p.pressed) {
		since = p.pressed
	}
	return time.Until(since.Add(pressedRest >> min(p.batches/restBatches, 62)))
}
