"""What an audit leaves for machines that hold a project to it: SARIF, JUnit, a test file."""
