package main

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/migrate"
)

func newMigrateCommand(g *globals) *cobra.Command {
	return newGroup("migrate", "Apply, show or print the migrations of the outbox",
		newMigrateUpCommand(g), newMigrateStatusCommand(g), newMigrateSQLCommand(g))
}

func newMigrateUpCommand(g *globals) *cobra.Command {
	var writers, relays []string
	cmd := &cobra.Command{
		Use: "up", Short: "Bring the outbox's schema to the newest version",
		Long: `Creates the schema if it is missing and applies what it does not have yet. It is safe to run while applications
insert, and safe to run from several places at once.

--grant-writer gives a role the right to insert events and nothing else; --grant-relay gives one what relay run
needs. Both roles must exist. Run it as the owner of the schema.`,
		Example: "  relay migrate up --grant-writer shop --grant-relay relay",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			cfg, url, err := g.migrationTarget(cmd)
			if err != nil {
				return err
			}
			schema := cfg.Outbox.Schema
			s := g.styleFor(g.stdout)
			applied, err := migrate.Up(ctx, url, schema, func(step migrate.Step) {
				fmt.Fprintf(g.stdout, "%s  %s  %s\n", s.good("applied"), step.Name, s.faint(ago(step.Took)))
			})
			if err != nil {
				return err
			}
			for _, role := range writers {
				if err := migrate.GrantWriter(ctx, url, schema, role); err != nil {
					return err
				}
				fmt.Fprintf(g.stdout, "%s  %s may insert events\n", s.good("granted"), role)
			}
			for _, role := range relays {
				if err := migrate.GrantRelay(ctx, url, schema, role); err != nil {
					return err
				}
				fmt.Fprintf(g.stdout, "%s  %s may run the relay\n", s.good("granted"), role)
			}
			_, err = fmt.Fprintf(g.stdout, "schema %s is up to date, %s applied\n", schema, count(len(applied), "migration"))
			return err
		},
	}
	cmd.Flags().StringSliceVar(&writers, "grant-writer", nil, "`ROLE` that may insert events; can be given more than once")
	cmd.Flags().StringSliceVar(&relays, "grant-relay", nil, "`ROLE` that may run the relay; can be given more than once")
	return cmd
}

// migrationTarget loads the configuration and makes sure that the server answers: the migrations themselves wait as
// long as it takes.
func (g *globals) migrationTarget(cmd *cobra.Command) (cfg *config.Config, url string, err error) {
	cfg, err = g.loadConfig()
	if err != nil {
		return nil, "", err
	}
	conn, err := connectPostgres(cmd.Context(), cfg, "migrate")
	if err != nil {
		return nil, "", err
	}
	closePostgres(conn)
	url, err = cfg.Postgres.ConnString()
	return cfg, url, err
}

// migrationReport is one element of what `relay migrate status --json` prints.
type migrationReport struct {
	Version   int64      `json:"version"`
	Name      string     `json:"name"`
	Applied   bool       `json:"applied"`
	AppliedAt *time.Time `json:"applied_at"`
	Changed   bool       `json:"changed"`
	Unknown   bool       `json:"unknown"`
}

func newMigrateStatusCommand(g *globals) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show which migrations the schema has",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			cfg, url, err := g.migrationTarget(cmd)
			if err != nil {
				return err
			}
			steps, err := migrate.Status(ctx, url, cfg.Outbox.Schema)
			if err != nil {
				return err
			}
			if !asJSON {
				g.printMigrations(steps)
				return nil
			}
			reports := make([]migrationReport, len(steps))
			for i, step := range steps {
				reports[i] = migrationReport{
					Version: step.Version, Name: step.Name, Applied: step.Applied, Changed: step.Changed, Unknown: step.Unknown,
				}
				if step.Applied {
					reports[i].AppliedAt = &steps[i].AppliedAt
				}
			}
			return printJSON(g.stdout, map[string]any{"schema": cfg.Outbox.Schema, "migrations": reports})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (g *globals) printMigrations(steps []migrate.Step) {
	s := g.styleFor(g.stdout)
	for _, step := range steps {
		switch {
		case step.Unknown:
			fmt.Fprintf(g.stdout, "%s   %04d, applied by a newer relay\n", s.warn("unknown"), step.Version)
		case !step.Applied:
			fmt.Fprintf(g.stdout, "%s   %s, run relay migrate up\n", s.warn("missing"), step.Name)
		case step.Changed:
			fmt.Fprintf(g.stdout, "%s   %s, applied with another text than this relay has\n", s.warn("changed"), step.Name)
		default:
			fmt.Fprintf(g.stdout, "%s   %s  %s\n", s.good("applied"), step.Name, s.faint(step.AppliedAt.Format(time.DateTime)))
		}
	}
}

func newMigrateSQLCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "sql", Short: "Print the migrations as SQL, for applying them by other means",
		Long: `Prints all migrations in their order, after two statements that create the schema of the configuration and make it
the place where unqualified names belong. It can be applied to an empty or an older schema:

  relay migrate sql | psql -v ON_ERROR_STOP=1 -f -`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := g.loadConfig(config.PostgresOptional)
			if err != nil {
				return err
			}
			schema := pgx.Identifier{cfg.Outbox.Schema}.Sanitize()
			_, err = fmt.Fprintf(g.stdout, "create schema if not exists %s;\nset search_path to %s;\n\n%s", schema, schema, migrate.SQL())
			return err
		},
	}
}
