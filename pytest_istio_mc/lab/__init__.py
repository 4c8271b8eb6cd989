"""The lab: real Kubernetes clusters made of processes in namespaces of their own, without a container engine."""
