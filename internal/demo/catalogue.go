package demo

import "github.com/comptoir/comptoir/commerce/event"

// Product is one product of the demo catalogue with the stock it starts with.
type Product struct {
	ID       event.ID
	Name     string
	Price    event.Amount // per piece, in EUR
	Quantity int64        // pieces supplied once, when the catalogue is loaded first
}

// pieces is the stock of each product. A run sells at most 5 of one and
// reserves at most 50 for a moment, so that two hundred runs end alike.
const pieces = 1000

// Catalogue returns the 20 products that the first start of `comptoir up`
// loads, and that the demo's orders buy. The caller owns the slice.
func Catalogue() []Product {
	return []Product{
		{"1001", "PC Gamer", 120_50, pieces},
		{"1002", "Clavier mécanique AZERTY", 89_90, pieces},
		{"1003", "Souris sans fil", 24_99, pieces},
		{"1004", "Écran 27 pouces", 249_00, pieces},
		{"1005", "Casque audio Bluetooth", 79_95, pieces},
		{"1006", "Webcam HD", 45_50, pieces},
		{"1101", "Machine à café expresso", 349_00, pieces},
		{"1102", "Bouilloire en inox", 39_90, pieces},
		{"1103", "Poêle en fonte", 54_00, pieces},
		{"1104", "Couteau de cuisine", 18_75, pieces},
		{"1201", "Vélo électrique", 1899_00, pieces},
		{"1202", "Casque de vélo", 49_99, pieces},
		{"1203", "Tente 2 places", 129_00, pieces},
		{"1301", "Lampe de bureau LED", 34_90, pieces},
		{"1302", "Fauteuil de bureau", 219_00, pieces},
		{"1303", "Bibliothèque en chêne", 459_00, pieces},
		{"1401", "Roman de poche", 8_20, pieces},
		{"1402", "Carnet ligné", 6_50, pieces},
		{"1597", "T-shirt en coton bio", 29_99, pieces},
		{"1598", "Pull en laine mérinos", 74_90, pieces},
	}
}
