"""An auditor's questions, answered from MLflow and DVC alone. Never imports the steps that it checks."""
