package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"

	"github.com/outboxrelay/relay/internal/config"
)

// manifest decodes a file as what it says it is; a field that there is not is an error.
func manifest[T any](t *testing.T, name string) T {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("kubernetes", name))
	if err != nil {
		t.Fatal(err)
	}
	var object T
	if err := yaml.UnmarshalStrict(text, &object); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return object
}

func TestKubernetes_ManifestsAreWhatKubernetesKnows(t *testing.T) {
	d := manifest[appsv1.Deployment](t, "deployment.yaml")
	job := manifest[batchv1.Job](t, "migrate.yaml")
	service := manifest[corev1.Service](t, "service.yaml")
	budget := manifest[policyv1.PodDisruptionBudget](t, "poddisruptionbudget.yaml")
	account := manifest[corev1.ServiceAccount](t, "serviceaccount.yaml")
	manifest[corev1.Namespace](t, "namespace.yaml")

	labels := d.Spec.Template.Labels
	for where, selector := range map[string]map[string]string{"the deployment": d.Spec.Selector.MatchLabels,
		"the service": service.Spec.Selector, "the budget": budget.Spec.Selector.MatchLabels} {
		if len(selector) == 0 || selector["app.kubernetes.io/name"] != labels["app.kubernetes.io/name"] {
			t.Errorf("%s selects %v, the pods are %v", where, selector, labels)
		}
	}
	if *d.Spec.Replicas != 2 || budget.Spec.MinAvailable.IntValue() != 1 {
		t.Errorf("%d replicas, %v have to stay", *d.Spec.Replicas, budget.Spec.MinAvailable)
	}
	if job.Spec.Template.Labels["app.kubernetes.io/name"] == labels["app.kubernetes.io/name"] {
		t.Error("the service and the budget count the migration as a relay")
	}
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	if c.LivenessProbe.HTTPGet.Path != "/livez" || c.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Errorf("probes %v, %v", c.LivenessProbe, c.ReadinessProbe)
	}
	if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; grace <= config.Default().Outbox.DrainTimeout.Std() {
		t.Errorf("killed after %v, draining takes %v", grace, config.Default().Outbox.DrainTimeout)
	}
	for _, p := range []corev1.PodSpec{pod, job.Spec.Template.Spec} {
		hardened(t, p)
		if p.ServiceAccountName != account.Name {
			t.Errorf("account %q", p.ServiceAccountName)
		}
	}
	if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
		t.Error("Kubernetes' variables for the service would be unknown configuration")
	}
	if got := job.Spec.Template.Spec.Containers[0].Args; !slices.Equal(got, []string{"migrate", "up"}) {
		t.Errorf("the job runs %v", got)
	}
}

func hardened(t *testing.T, p corev1.PodSpec) {
	t.Helper()
	s := p.SecurityContext
	if s == nil || !*s.RunAsNonRoot || s.SeccompProfile == nil {
		t.Errorf("the pod may be root: %+v", s)
	}
	for _, c := range p.Containers {
		s := c.SecurityContext
		if s == nil || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Contains(s.Capabilities.Drop, "ALL") {
			t.Errorf("container %s: %+v", c.Name, s)
		}
		for _, m := range c.VolumeMounts {
			if !slices.ContainsFunc(p.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) || !m.ReadOnly {
				t.Errorf("container %s mounts %+v", c.Name, m)
			}
		}
	}
}

func TestKubernetes_KustomizationNamesWhatIsThere(t *testing.T) {
	k := manifest[struct {
		APIVersion, Kind, Namespace string
		Resources                   []string
		Images                      []struct{ Name, NewName, NewTag string }
		ConfigMapGenerator          []struct {
			Name  string
			Files []string
		}
		SecretGenerator []struct {
			Name  string
			Files []string
		}
	}](t, "kustomization.yaml")
	files, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := filepath.Base(file); name != "kustomization.yaml" && !slices.Contains(k.Resources, name) {
			t.Errorf("%s is not applied", name)
		}
	}
	for _, name := range append(slices.Clone(k.Resources), k.ConfigMapGenerator[0].Files...) {
		if _, err := os.Stat(filepath.Join("kubernetes", name)); err != nil {
			t.Error(err)
		}
	}
	made := []string{k.ConfigMapGenerator[0].Name}
	for _, s := range k.SecretGenerator {
		made = append(made, s.Name)
	}
	for _, p := range []corev1.PodSpec{manifest[appsv1.Deployment](t, "deployment.yaml").Spec.Template.Spec,
		manifest[batchv1.Job](t, "migrate.yaml").Spec.Template.Spec} {
		for _, v := range p.Volumes {
			name := ""
			if v.Secret != nil {
				name = v.Secret.SecretName
			} else if v.ConfigMap != nil {
				name = v.ConfigMap.Name
			}
			if !slices.Contains(made, name) {
				t.Errorf("volume %s is of %q, which nobody makes", v.Name, name)
			}
		}
		if p.Containers[0].Image != k.Images[0].Name {
			t.Errorf("image %s", p.Containers[0].Image)
		}
	}
}

// The secrets are on no machine here; everything else has to be right.
func TestKubernetes_ConfigurationIsValid(t *testing.T) {
	text, err := os.ReadFile("kubernetes/relay.toml")
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "postgres-url")
	if err := os.WriteFile(secret, []byte("postgres://relay@db/app"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "relay.toml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "/etc/relay-secret/postgres-url", secret)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Postgres.URLFile != secret || cfg.HTTP.Listen != "0.0.0.0:9187" {
		t.Errorf("%+v %+v", cfg.Postgres, cfg.HTTP)
	}
}

func TestSystemd_UnitIsValidAndHardened(t *testing.T) {
	const unit = "systemd/relay.service"
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	stop := regexp.MustCompile(`(?m)^TimeoutStopSec=(\S+)$`).FindSubmatch(text)
	if stop == nil {
		t.Fatal("no TimeoutStopSec")
	}
	if d, err := time.ParseDuration(string(stop[1])); err != nil || d <= config.Default().Outbox.DrainTimeout.Std() {
		t.Errorf("TimeoutStopSec %s: draining takes %v", stop[1], config.Default().Outbox.DrainTimeout)
	}
	var env []string
	for _, line := range regexp.MustCompile(`(?m)^Environment=(RELAY_\w+)=(.*)$`).FindAllSubmatch(text, -1) {
		env = append(env, string(line[1])+"="+strings.ReplaceAll(string(line[2]), "%d", t.TempDir()))
	}
	if _, err := config.Load("", env, config.PostgresOptional); err != nil && !strings.Contains(err.Error(), "no such file") || len(env) < 2 {
		t.Errorf("%v: %v", env, err)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=yes", "--no-pager", unit).CombinedOutput()
	level := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if level == nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if exposed, err := strconv.ParseFloat(string(level[1]), 64); err != nil || exposed > 1.5 {
		t.Errorf("exposure %s, wanted 1.5 at most\n%s", level[1], out)
	}
}
