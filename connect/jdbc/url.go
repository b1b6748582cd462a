package jdbc

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// target is a parsed connection.url: exactly one of the two is set.
type target struct {
	postgres *pgxpool.Config
	sqlite   string // path of the file
}

// jdbcParams maps parameters of PostgreSQL's JDBC driver to libpq's. Others
// tune that driver and mean nothing here.
var jdbcParams = map[string]string{
	"sslmode": "sslmode", "sslrootcert": "sslrootcert", "sslcert": "sslcert", "sslkey": "sslkey",
	"ApplicationName": "application_name", "currentSchema": "search_path", "connectTimeout": "connect_timeout",
	"options": "options", "targetServerType": "",
}

// parseURL reads a JDBC URL. The password never appears in an error.
func parseURL(raw, user, password string) (target, error) {
	raw = strings.TrimSpace(raw)
	if path, ok := strings.CutPrefix(raw, "jdbc:sqlite:"); ok {
		path, _, _ = strings.Cut(path, "?")
		path = strings.TrimPrefix(path, "file:")
		if path == "" || strings.Contains(path, ":memory:") {
			return target{}, fmt.Errorf("an archive in memory would not outlive the connection; %w", errURL)
		}
		return target{sqlite: filepath.Clean(path)}, nil
	}
	rest, ok := strings.CutPrefix(raw, "jdbc:postgresql:")
	if !ok {
		return target{}, errURL
	}
	if !strings.HasPrefix(rest, "//") {
		rest = "//localhost/" + rest
	}
	u, err := url.Parse("postgres:" + rest)
	if err != nil {
		return target{}, fmt.Errorf("not a URL; %w", errURL)
	}
	given, out := u.Query(), url.Values{}
	for name, values := range given {
		if to := jdbcParams[name]; to != "" && len(values) > 0 {
			out.Set(to, values[len(values)-1])
		}
	}
	if out.Get("connect_timeout") == "" {
		out.Set("connect_timeout", "10")
	}
	if user == "" {
		user = given.Get("user")
	}
	if password == "" {
		password = given.Get("password")
	}
	if u.User != nil {
		return target{}, fmt.Errorf("give the user by connection.user and connection.password, not before the host")
	}
	u.RawQuery, u.Fragment = out.Encode(), ""
	if user != "" {
		// Set here, and not below, so that the database defaults to the user.
		u.User = url.User(user)
	}
	cfg, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		return target{}, fmt.Errorf("connection.url cannot be used: %w", err)
	}
	if password != "" {
		cfg.ConnConfig.Password = password
	}
	return target{postgres: cfg}, nil
}
