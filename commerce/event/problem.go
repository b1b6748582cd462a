package event

// Problem is one reason why an order is incoherent or suspicious.
type Problem struct {
	Code   string // code: one of the Code constants
	Field  string // champ: a path such as lignes[2].prix, empty for the whole value
	Detail string // detail: what is wrong and what is expected, for people
}

// Codes of incoherent orders.
const (
	CodeInvalidJSON     = "JSON_INVALIDE"
	CodeOrderTooLarge   = "COMMANDE_TROP_GRANDE"
	CodeMissingField    = "CHAMP_MANQUANT"
	CodeInvalidType     = "TYPE_INVALIDE"
	CodeInvalidAmount   = "MONTANT_INVALIDE"
	CodeInvalidQuantity = "QUANTITE_INVALIDE"
	CodeUnknownCurrency = "DEVISE_INCONNUE"
	CodeNoProduct       = "PRODUIT_ABSENT"
	CodeIncoherentLines = "LIGNES_INCOHERENTES"
	CodeOrderConflict   = "COMMANDE_EN_CONFLIT"
)

// Codes of suspicious orders.
const (
	CodeHighAmount      = "MONTANT_ELEVE"
	CodeHighFrequency   = "FREQUENCE_ELEVEE"
	CodeUnexpectedPrice = "PRIX_INATTENDU"
)

// Severities of an ErrorRecord.
const (
	SeverityReject = "rejet"  // the order stops here
	SeverityAlert  = "alerte" // the order goes on
)
