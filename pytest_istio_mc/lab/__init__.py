"""The lab: real Kubernetes clusters as processes in namespaces, without a container engine."""
